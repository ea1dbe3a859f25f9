"""The routes of exports: `/v1/export/…`, and how their files go out."""

import asyncio
import os
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO, Literal

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send
from litestar.types import Scope as Connection

from hitrate import log
from hitrate.analytics.export.datasets import Table, Tables
from hitrate.analytics.export.formats import FORMS, Form
from hitrate.analytics.export.jobs import Export, ExportManager
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.params import (
    Agent,
    AnalyticsService,
    AnyRequest,
    Ci,
    Fresh,
    Interactive,
    TokenId,
    Until,
)
from hitrate.analytics.period import Period
from hitrate.auth.guards import current_auth
from hitrate.clock import iso
from hitrate.errors import RequestError, ServiceUnavailable
from hitrate.http.asgi import STREAM_CHUNK_BYTES, wait_for_disconnect
from hitrate.teams.models import Team

EVERYTHING = "1970-01-01"

Since = Annotated[
    str | None,
    QueryParameter(
        name="since",
        description="ISO 8601, or a duration such as 7d. Everything when left out.",
    ),
]
Format = Annotated[
    Literal["ndjson", "csv", "parquet"],
    QueryParameter(name="format", description="ndjson, csv (both in UTF-8) or parquet."),
]

_log = log.get_logger("analytics")


class ExportAnswer(ASGIResponse):
    """An answer that is made while it is sent, never faster than it is read.

    It begins with its first file, so what keeps an export from beginning is told as an error. What
    fails later breaks the connection off: the client sees that the body is not whole.
    """

    _should_set_content_length = False

    def __init__(
        self, exports: ExportManager, team: Team, name: str, table: Table, form: Form
    ) -> None:
        """`name` is that of the file."""
        super().__init__(
            media_type=form.media_type,
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )
        self._exports = exports
        self._team = team
        self._table = table
        self._form = form

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        export = self._exports.begin(self._team.id, self._table, self._form)
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            first = await self._next_file(export, gone)
            try:
                await self._send(send, first, export, gone)
            except Exception as error:
                if gone.done():
                    return
                _log.warning(
                    "an export was broken off",
                    request_id=scope.get("request_id"),
                    path=scope["path"],
                    reason=str(error),
                    exc_info=None if isinstance(error, RequestError) else error,
                )
                raise
        finally:
            gone.cancel()
            await asyncio.to_thread(self._exports.end, export)

    async def _send(
        self,
        send: Send,
        file: BinaryIO | None,
        export: Export,
        gone: "asyncio.Future[None]",
    ) -> None:
        if self._form.whole and file is not None:
            self.headers["content-length"] = str(os.fstat(file.fileno()).st_size)
        await self.start_response(send)
        if head := self._form.head(self._table.columns):
            await self._send_piece(send, head)
        while file is not None:
            while piece := await asyncio.to_thread(file.read, STREAM_CHUNK_BYTES):
                if gone.done():
                    return
                await self._send_piece(send, piece)
            file = await self._next_file(export, gone)
        # Before the end of the body: who has read all of it may at once ask for the next.
        await asyncio.to_thread(self._exports.end, export)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_piece(self, send: Send, piece: bytes) -> None:
        """Returns when there is room for the next one. Raises ServiceUnavailable."""
        try:
            async with asyncio.timeout(self._exports.stalled_s):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ServiceUnavailable("The client has stopped reading.") from error

    async def _next_file(self, export: Export, gone: "asyncio.Future[None]") -> BinaryIO | None:
        making = asyncio.wrap_future(self._exports.next_file(export))
        either: set[asyncio.Future[Any]] = {making, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            await asyncio.to_thread(export.close)
        return await making


def export_api(
    analyst: AnalyticsService, exports: ExportManager, tables: Tables
) -> Sequence[HTTPRouteHandler]:
    """The routes of this file."""
    route = {**analyst.route, "opt": {"content_types": [f.media_type for f in FORMS.values()]}}

    def answer(request: AnyRequest, what: str, form: str, scope: ReportQuery) -> ExportAnswer:
        team = current_auth(request).team
        name = f"{team.slug}-{what}-{_days(scope.period)}.{form}"
        return ExportAnswer(exports, team, name, tables.named(what, scope), FORMS[form])

    @get("/v1/export/events", operation_id="exportEvents", **route)
    def events(
        request: AnyRequest,
        format: Format = "ndjson",  # noqa: A002  # reason: refusals name the parameter
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> ExportAnswer:
        """The events of the runs that began in a period, in the order in which they came: what all
        reports are made of. `artifactDuration` is the duration stored with the artifact, of remote
        hits that tell none. Times are in UTC, durations in ms. In csv, text that a spreadsheet
        would run as a formula begins with an apostrophe."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since or EVERYTHING, until, ci, interactive, agent, token)
        return answer(request, "events", format, scope)

    @get("/v1/export/runs", operation_id="exportRuns", **route)
    def runs(
        request: AnyRequest,
        format: Format = "ndjson",  # noqa: A002  # reason: refusals name the parameter
        since: Since = None,
        until: Until = None,
        ci: Ci = None,
        interactive: Interactive = None,
        agent: Agent = None,
        token: TokenId = None,
        fresh: Fresh = False,
    ) -> ExportAnswer:
        """The runs that began in a period, in the order in which they came, with what their tasks
        add up to."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since or EVERYTHING, until, ci, interactive, agent, token)
        return answer(request, "runs", format, scope)

    @get("/v1/export/artifacts", operation_id="exportArtifacts", **route)
    def artifacts(
        request: AnyRequest,
        format: Format = "ndjson",  # noqa: A002  # reason: refusals name the parameter
        since: Since = None,
        until: Until = None,
        fresh: Fresh = False,
    ) -> ExportAnswer:
        """The artifacts that are stored, by their hashes, with their hits and the time that these
        saved in a period."""
        analyst.catch_up(fresh)
        scope = analyst.scope(request, since or EVERYTHING, until)
        return answer(request, "artifacts", format, scope)

    return [events, runs, artifacts]


def _days(span: Period) -> str:
    """`2026-10-01-to-2026-10-31`, or `to-2026-10-31` of everything."""
    last = f"to-{iso(span.to_ms - 1)[:10]}"
    return f"{iso(span.from_ms)[:10]}-{last}" if span.from_ms else last
