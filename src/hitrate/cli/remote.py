"""Access to the API for commands. All numbers come from the API.

The server is the one that turbo uses (TURBO_API), which needs only the client's libraries, or the
one that runs on a data directory of this machine.
"""

import functools
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
    from hitrate.client.sync import Download

ResultT = TypeVar("ResultT")
Query = Mapping[str, str | int | bool | None]

MAX_PAGE_SIZE = 1000
_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0
_EXPORT_TIMEOUT_S = 600.0

_NO_SERVER = (
    "There is no server to use. Set TURBO_API and TURBO_TOKEN, as for turbo. Where a server runs, "
    "change to its directory or pass its data directory as --data-dir."
)


@dataclass(frozen=True)
class Response(Generic[ResultT]):
    """A response as JSON, and the part of it that is displayed."""

    json: dict[str, Any]
    data: ResultT


class Api:
    """GET requests to the API for one team. `as_operator`: the operator's token is used.

    Every method may raise CommandError and the client's HitrateError.
    """

    def __init__(self, client: "Hitrate", *, as_operator: bool) -> None:
        self._client = client
        self.as_operator = as_operator

    def get(self, path: str, result_type: type[ResultT], query: Query) -> Response[ResultT]:
        """Return the response, a JSON object."""
        from hitrate.client import NotFound
        from hitrate.client._operations import Call

        def read(response: Any) -> Response[ResultT]:
            try:
                whole = msgspec.json.decode(response.content, type=dict[str, Any])
                return Response(whole, msgspec.convert(whole, result_type))
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
        self, path: str, result_type: type[ResultT], entries: str, max_entries: int, query: Query
    ) -> Response[ResultT]:
        """Return the response with the `entries` of all pages, up to `max_entries`."""
        page = self.get(path, result_type, {**query, "limit": min(max_entries, MAX_PAGE_SIZE)}).json
        found = page[entries]
        if "from" in page:  # runs that begin meanwhile must not shift the pages
            query = {**query, "since": page["from"], "until": page["to"]}
        while page["nextCursor"] is not None and len(found) < max_entries:
            next_page = {
                "limit": min(max_entries - len(found), MAX_PAGE_SIZE),
                "cursor": page["nextCursor"],
            }
            page = self.get(path, result_type, {**query, **next_page}).json
            found += page[entries]
        whole = {**page, entries: found}
        return Response(whole, msgspec.convert(whole, result_type))

    @contextmanager
    def stream(self, path: str, kind: str, query: Query) -> "Iterator[Download]":
        """Stream a response whose media type contains `kind`; raises if it is cut short."""
        from httpx import Timeout

        from hitrate.client._operations import Call
        from hitrate.client.sync import Download

        call = Call(
            "GET", path, lambda _response: None, {"accept": "*/*"}, query=_query_text(query)
        )
        timeout = Timeout(_EXPORT_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        send = functools.partial(self._client.send, call, {"timeout": timeout})
        with closing(self._client.retry(call, send)) as response:
            if kind not in response.headers.get("content-type", ""):
                raise CommandError(
                    f"{response.url.host} did not send {kind}. Is it a hitrate server?"
                )
            yield Download(response, None)


_JSON = {"accept": "application/json"}


def _query_text(query: Query) -> dict[str, str]:
    text = {True: "true", False: "false"}
    return {
        name: text[value] if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


@dataclass(frozen=True)
class ServerTarget:
    """The server and team that the options name."""

    api: str | None
    team: str | None
    data_dir: str | None
    config: Path | None

    @contextmanager
    def open(self) -> Iterator[Api]:
        """Connect to the API. Raises CommandError, also for client errors in the block."""
        address = self.api or os.environ.get("TURBO_API")
        is_local = self.data_dir is not None or self.config is not None
        if self.api and is_local:
            raise click.UsageError("Pass either --api or a data directory.")
        with _report_client_errors():
            if address and not is_local:
                with self._as_turbo(address) as client:
                    yield Api(client, as_operator=False)
            else:
                with self._as_operator() as client:
                    yield Api(client, as_operator=True)

    def _as_turbo(self, address: str) -> "Hitrate":
        from httpx import Timeout

        from hitrate.client import BadRequest, Hitrate

        if not os.environ.get("TURBO_TOKEN"):
            raise CommandError(
                "There is no token: set TURBO_TOKEN to a token with the scope analytics."
            )
        try:
            timeout = Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
            return Hitrate(server_url=address, slug=self.team, timeout=timeout)
        except BadRequest as error:
            named = "The server's address (TURBO_API, or --api)"
            raise CommandError(str(error).replace("server_url", named)) from error

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
    """Return whether a data directory may exist in the default location."""
    named = os.environ.get("HITRATE_DATA_DIR") or os.environ.get("HITRATE_CONFIG")
    return bool(named) or Path("data").is_dir() or Path("hitrate.toml").is_file()


@contextmanager
def _report_client_errors() -> Iterator[None]:
    from hitrate.client import HitrateError

    try:
        yield
    except HitrateError as error:
        raise CommandError(str(error)) from error
