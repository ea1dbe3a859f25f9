"""The API as commands ask it, so that every number is the API's.

The server is the one that turbo uses (TURBO_API), for which the client's libraries are enough, or
the one that runs on a data folder of this machine.
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

from hitrate.cli.output import Failed

if TYPE_CHECKING:
    from hitrate.client import Hitrate
    from hitrate.client.sync import Download

Shape = TypeVar("Shape")
Query = Mapping[str, str | int | bool | None]

PAGE_MOST = 1000
_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0
_EXPORT_TIMEOUT_S = 600.0

_NO_SERVER = (
    "No server is named. Set TURBO_API and TURBO_TOKEN, as for turbo; or, where a server runs, go "
    "to its folder or name its data folder with --data-dir."
)


@dataclass(frozen=True)
class Answer(Generic[Shape]):
    """An answer as it came, and what of it is shown."""

    json: dict[str, Any]
    shown: Shape


class Api:
    """GET requests to the API about one team. `as_operator`: the token in use is the operator's,
    who has no runs. Everything may raise Failed, and the client's HitrateError."""

    def __init__(self, client: "Hitrate", *, as_operator: bool) -> None:
        self._client = client
        self.as_operator = as_operator

    def get(self, path: str, shape: type[Shape], query: Query) -> Answer[Shape]:
        """The answer, a JSON object."""
        from hitrate.client import NotFound
        from hitrate.client._operations import Call

        def read(response: Any) -> Answer[Shape]:
            try:
                whole = msgspec.json.decode(response.content, type=dict[str, Any])
                return Answer(whole, msgspec.convert(whole, shape))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Failed(
                    f"What {response.url.host} answered is not understood ({error}): is it a "
                    "hitrate server?"
                ) from error

        try:
            return self._client.call(Call("GET", path, read, _JSON, query=_bare(query)), {})
        except NotFound as error:
            if path.startswith("/v1/runs/"):  # there may be none with this session
                raise
            raise Failed(f"{error}: it has no analytics; is it a hitrate server?") from error

    def get_all(
        self, path: str, shape: type[Shape], entries: str, most: int, query: Query
    ) -> Answer[Shape]:
        """The answer with the `entries` of its following pages, `most` of them at most."""
        page = self.get(path, shape, {**query, "limit": min(most, PAGE_MOST)}).json
        found = page[entries]
        if "from" in page:  # what began since is not to move the pages
            query = {**query, "since": page["from"], "until": page["to"]}
        while page["nextCursor"] is not None and len(found) < most:
            following = {"limit": min(most - len(found), PAGE_MOST), "cursor": page["nextCursor"]}
            page = self.get(path, shape, {**query, **following}).json
            found += page[entries]
        whole = {**page, entries: found}
        return Answer(whole, msgspec.convert(whole, shape))

    @contextmanager
    def stream(self, path: str, kind: str, query: Query) -> "Iterator[Download]":
        """The answer, of a media type that has the word `kind`, in chunks; one that was cut short
        raises between two of them."""
        from httpx import Timeout

        from hitrate.client._operations import Call
        from hitrate.client.sync import Download

        call = Call("GET", path, lambda _response: None, {"accept": "*/*"}, query=_bare(query))
        timeout = Timeout(_EXPORT_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        send = functools.partial(self._client.send, call, {"timeout": timeout})
        with closing(self._client.retry(call, send)) as response:
            if kind not in response.headers.get("content-type", ""):
                raise Failed(f"{response.url.host} answered no {kind}: is it a hitrate server?")
            yield Download(response, None)


_JSON = {"accept": "application/json"}


def _bare(query: Query) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


@dataclass(frozen=True)
class Place:
    """Where the numbers come from, as options name it."""

    api: str | None
    team: str | None
    data_dir: str | None
    config: Path | None

    @contextmanager
    def open(self) -> Iterator[Api]:
        """The API of the server. Raises Failed, also for what its block raises of the client."""
        address = self.api or os.environ.get("TURBO_API")
        own = self.data_dir is not None or self.config is not None
        if self.api and own:
            raise click.UsageError("--api and a data folder: name one of them.")
        with _failures_told():
            if address and not own:
                with self._as_turbo(address) as client:
                    yield Api(client, as_operator=False)
            else:
                with self._as_operator() as client:
                    yield Api(client, as_operator=True)

    def _as_turbo(self, address: str) -> "Hitrate":
        from httpx import Timeout

        from hitrate.client import BadRequest, Hitrate

        if not os.environ.get("TURBO_TOKEN"):
            raise Failed("There is no token: set TURBO_TOKEN to one that may read analytics.")
        try:
            timeout = Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
            return Hitrate(server_url=address, slug=self.team, timeout=timeout)
        except BadRequest as error:
            named = "The server's address (TURBO_API, or --api)"
            raise Failed(str(error).replace("server_url", named)) from error

    @contextmanager
    def _as_operator(self) -> "Iterator[Hitrate]":
        try:
            from hitrate.cli.operator import team_client
        except ModuleNotFoundError as error:  # the server's libraries are not installed
            raise Failed(_NO_SERVER) from error
        if self.data_dir is None and self.config is None and not _has_data_folder():
            raise Failed(_NO_SERVER)
        team = self.team or os.environ.get("TURBO_TEAM")
        if not team:
            raise click.UsageError("Name the team: --team SLUG.")
        with team_client(self.data_dir, self.config, team) as client:
            yield client


def _has_data_folder() -> bool:
    """Whether there may be one where it is looked for without options."""
    named = os.environ.get("HITRATE_DATA_DIR") or os.environ.get("HITRATE_CONFIG")
    return bool(named) or Path("data").is_dir() or Path("hitrate.toml").is_file()


@contextmanager
def _failures_told() -> Iterator[None]:
    from hitrate.client import HitrateError

    try:
        yield
    except HitrateError as error:
        raise Failed(str(error)) from error
