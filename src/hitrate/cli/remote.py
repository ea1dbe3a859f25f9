"""Access to the API for commands that print analytics.

The server is the one that turbo uses (TURBO_API), which needs only the client's libraries, or the
one that runs on a local data directory. Commands compute no numbers of their own.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
import msgspec

from hitrate.cli.output import CommandError

if TYPE_CHECKING:
    from hitrate.client import Hitrate
    from hitrate.client.low_level import Download

ResultT = TypeVar("ResultT")
Query = Mapping[str, str | int | bool | None]

MAX_PAGE_SIZE = 1000
_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0
_EXPORT_TIMEOUT_S = 600.0

_NO_SERVER = (
    "No server is configured. Set TURBO_API and TURBO_TOKEN, as for turbo. On the server's own "
    "machine, run it in the directory in which the server was started, or pass --data-dir."
)


@dataclass(frozen=True)
class Response(Generic[ResultT]):
    """A response as JSON, and the same converted to a type, `data`."""

    json: dict[str, Any]
    data: ResultT


class Api:
    """GET requests to the API for one team. `as_operator`: they use a token of the operator.

    Every method may raise CommandError and the client's HitrateError.
    """

    def __init__(self, client: "Hitrate", *, as_operator: bool) -> None:
        self._client = client
        self.as_operator = as_operator

    def get(self, path: str, result_type: type[ResultT], query: Query) -> Response[ResultT]:
        """Return the response, which is a JSON object, also converted to `result_type`."""
        from hitrate.client import NotFound
        from hitrate.client.low_level import Call

        def read(response: Any) -> Response[ResultT]:
            try:
                document = msgspec.json.decode(response.content, type=dict[str, Any])
                return Response(document, msgspec.convert(document, result_type))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CommandError(
                    f"{response.url.host} sent an unexpected response ({error}). Is it a hitrate "
                    "server?"
                ) from error

        try:
            return self._client.call(Call("GET", path, read, _JSON, query=_query_text(query)), {})
        except NotFound as error:
            if path.startswith("/v1/runs/"):  # there may be no run with this session
                raise
            raise CommandError(
                f"{error}: this server has no analytics. Is it a hitrate server?"
            ) from error

    def get_all(
        self, path: str, result_type: type[ResultT], key: str, max_items: int, query: Query
    ) -> Response[ResultT]:
        """Return a response whose list `key` has the items of all pages, up to `max_items`."""
        page = self.get(path, result_type, {**query, "limit": min(max_items, MAX_PAGE_SIZE)}).json
        items = page[key]
        if "from" in page:  # so that runs that start meanwhile do not shift the pages
            query = {**query, "since": page["from"], "until": page["to"]}
        while page["nextCursor"] is not None and len(items) < max_items:
            next_page = {
                "limit": min(max_items - len(items), MAX_PAGE_SIZE),
                "cursor": page["nextCursor"],
            }
            page = self.get(path, result_type, {**query, **next_page}).json
            items += page[key]
        document = {**page, key: items}
        return Response(document, msgspec.convert(document, result_type))

    @contextmanager
    def stream(self, path: str, media_type: str, query: Query) -> "Iterator[Download]":
        """Stream a response whose Content-Type contains `media_type`.

        Iterating raises HitrateError if the response is cut short.
        """
        from httpx import Timeout

        from hitrate.client.low_level import Call, Download, send

        call = Call(
            "GET", path, lambda _response: None, {"accept": "*/*"}, query=_query_text(query)
        )
        timeout = Timeout(_EXPORT_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        with closing(send(self._client, call, timeout=timeout)) as response:
            if media_type not in response.headers.get("content-type", ""):
                raise CommandError(
                    f"{response.url.host} did not send {media_type}. Is it a hitrate server?"
                )
            yield Download(response)


_JSON = {"accept": "application/json"}


def _query_text(query: Query) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


@dataclass(frozen=True)
class ServerTarget:
    """The server and the team that options and environment select."""

    api: str | None
    team: str | None
    data_dir: str | None
    config: Path | None

    @contextmanager
    def open(self) -> Iterator[Api]:
        """Connect to the API. Raises CommandError, also for client errors in the block."""
        url = self.api or os.environ.get("TURBO_API")
        is_local = self.data_dir is not None or self.config is not None
        if self.api and is_local:
            raise click.UsageError("Pass either --api or a data directory.")
        with _report_client_errors():
            if url and not is_local:
                with self._as_turbo(url) as client:
                    yield Api(client, as_operator=False)
            else:
                with self._as_operator() as client:
                    yield Api(client, as_operator=True)

    def _as_turbo(self, url: str) -> "Hitrate":
        from httpx import Timeout

        from hitrate.client import BadRequest, Hitrate

        if not os.environ.get("TURBO_TOKEN"):
            raise CommandError(
                "There is no token: set TURBO_TOKEN to a token with the scope `analytics`."
            )
        try:
            timeout = Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
            return Hitrate(server_url=url, slug=self.team, timeout=timeout)
        except BadRequest as error:
            message = str(error).replace(
                "server_url", "The URL of the server (TURBO_API, or --api)"
            )
            raise CommandError(message) from error

    @contextmanager
    def _as_operator(self) -> "Iterator[Hitrate]":
        try:
            from hitrate.cli.operator import team_client
        except ModuleNotFoundError as error:  # the server's libraries are not installed
            raise CommandError(_NO_SERVER) from error
        if self.data_dir is None and self.config is None and not _may_have_data_dir():
            raise CommandError(_NO_SERVER)
        team = self.team or os.environ.get("TURBO_TEAM")
        if not team:
            raise click.UsageError("Pass the team: --team SLUG.")
        with team_client(self.data_dir, self.config, team) as client:
            yield client


def _may_have_data_dir() -> bool:
    """Return whether the environment or the current directory may name a data directory."""
    configured = os.environ.get("HITRATE_DATA_DIR") or os.environ.get("HITRATE_CONFIG")
    return bool(configured) or Path("data").is_dir() or Path("hitrate.toml").is_file()


@contextmanager
def _report_client_errors() -> Iterator[None]:
    from hitrate.client import HitrateError

    try:
        yield
    except HitrateError as error:
        raise CommandError(str(error)) from error
