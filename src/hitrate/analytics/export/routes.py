"""Exports: `/v1/export/…`, and the streaming of their files."""

import asyncio
import os
from typing import Annotated, Any, BinaryIO, Literal

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from hitrate import log
from hitrate.analytics.export.datasets import Dataset, DatasetFactory, DatasetName
from hitrate.analytics.export.formats import FORMATS, Format
from hitrate.analytics.export.jobs import ExportJob, ExportManager
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.params import EXPORT_PERIOD_QUERY, EXPORT_QUERY
from hitrate.analytics.period import Period
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.clock import iso
from hitrate.errors import RequestError, ServiceUnavailable
from hitrate.http.asgi import STREAM_CHUNK_BYTES, wait_for_disconnect
from hitrate.http.litestar import AnyRequest
from hitrate.teams.models import Team

FormatName = Annotated[
    Literal["ndjson", "csv", "parquet"],
    QueryParameter(name="format", description="ndjson, csv (both in UTF-8) or parquet."),
]

_CONTENT_TYPES = [file_format.media_type for file_format in FORMATS.values()]

_log = log.get_logger("analytics")


class ExportResponse(ASGIResponse):
    """A response that is produced while it is sent, no faster than the client reads.

    It starts with its first file, so an export that cannot start gets an error response. A later
    failure aborts the connection: the client sees that the body is incomplete.
    """

    _should_set_content_length = False

    def __init__(
        self,
        exports: ExportManager,
        team: Team,
        file_name: str,
        dataset: Dataset,
        file_format: Format,
    ) -> None:
        super().__init__(
            media_type=file_format.media_type,
            headers={"content-disposition": f'attachment; filename="{file_name}"'},
        )
        self._exports = exports
        self._team = team
        self._dataset = dataset
        self._format = file_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        job = self._exports.start(self._team.id, self._dataset, self._format)
        disconnected = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            first = await _next_file(job, disconnected)
            try:
                await self._send(send, first, job, disconnected)
            except Exception as error:
                if disconnected.done():
                    return
                _log.warning(
                    "export aborted",
                    request_id=scope.get("request_id"),
                    path=scope["path"],
                    reason=str(error),
                    exc_info=None if isinstance(error, RequestError) else error,
                )
                raise
        finally:
            disconnected.cancel()
            await asyncio.to_thread(job.close)

    async def _send(
        self,
        send: Send,
        file: BinaryIO | None,
        job: ExportJob,
        disconnected: "asyncio.Future[None]",
    ) -> None:
        """Send all files of a job, beginning with `file`; stop if the client disconnects."""
        if self._format.single_file and file is not None:
            self.headers["content-length"] = str(os.fstat(file.fileno()).st_size)
        await self.start_response(send)
        if header := self._format.header_bytes(self._dataset.columns):
            await self._send_chunk(send, header)
        while file is not None:
            while chunk := await asyncio.to_thread(file.read, STREAM_CHUNK_BYTES):
                if disconnected.done():
                    return
                await self._send_chunk(send, chunk)
            file = await _next_file(job, disconnected)
        # Free the team's slot before the end of the body, when a client may start the next export.
        await asyncio.to_thread(job.close)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunk(self, send: Send, chunk: bytes) -> None:
        """Send a chunk, and return when the connection accepts another.

        Raises ServiceUnavailable if the client does not read.
        """
        try:
            async with asyncio.timeout(self._exports.send_timeout_s):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError as error:
            raise ServiceUnavailable("The client stopped reading.") from error


async def _next_file(job: ExportJob, disconnected: "asyncio.Future[None]") -> BinaryIO | None:
    """Wait for the next file; close the job if the client disconnects first."""
    file = asyncio.wrap_future(job.next_file())
    futures: set[asyncio.Future[Any]] = {file, disconnected}
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if not file.done():
        await asyncio.to_thread(job.close)
    return await file


@get(
    "/v1/export/events",
    operation_id="exportEvents",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    content_types=_CONTENT_TYPES,
    dependencies=EXPORT_QUERY,
)
async def export_events(
    request: AnyRequest,
    report_query: NamedDependency[ReportQuery],
    exports: NamedDependency[ExportManager],
    datasets: NamedDependency[DatasetFactory],
    format: FormatName = "ndjson",  # noqa: A002  # reason: error messages name the parameter
) -> ExportResponse:
    """The events of the runs that began in a period, in the order of arrival.

    All reports are computed from these events. `artifactDuration` is the duration stored with the
    artifact, for remote hits that report none. Times are in UTC, durations in ms. In csv, an
    apostrophe precedes text that a spreadsheet would run as a formula.
    """
    return _export(request, report_query, exports, datasets, "events", format)


@get(
    "/v1/export/runs",
    operation_id="exportRuns",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    content_types=_CONTENT_TYPES,
    dependencies=EXPORT_QUERY,
)
async def export_runs(
    request: AnyRequest,
    report_query: NamedDependency[ReportQuery],
    exports: NamedDependency[ExportManager],
    datasets: NamedDependency[DatasetFactory],
    format: FormatName = "ndjson",  # noqa: A002  # reason: error messages name the parameter
) -> ExportResponse:
    """The runs that began in a period, in the order of arrival, with the totals of their tasks."""
    return _export(request, report_query, exports, datasets, "runs", format)


@get(
    "/v1/export/artifacts",
    operation_id="exportArtifacts",
    tags=["analytics"],
    permission=Permission.ANALYTICS,
    content_types=_CONTENT_TYPES,
    dependencies=EXPORT_PERIOD_QUERY,
)
async def export_artifacts(
    request: AnyRequest,
    report_query: NamedDependency[ReportQuery],
    exports: NamedDependency[ExportManager],
    datasets: NamedDependency[DatasetFactory],
    format: FormatName = "ndjson",  # noqa: A002  # reason: error messages name the parameter
) -> ExportResponse:
    """The stored artifacts by hash, with their hits and the time saved in a period."""
    return _export(request, report_query, exports, datasets, "artifacts", format)


def _export(
    request: AnyRequest,
    query: ReportQuery,
    exports: ExportManager,
    datasets: DatasetFactory,
    name: DatasetName,
    format_name: str,
) -> ExportResponse:
    team = current_auth(request).team
    file_name = f"{team.slug}-{name}-{_dates(query.period)}.{format_name}"
    dataset = datasets.create(name, query)
    return ExportResponse(exports, team, file_name, dataset, FORMATS[format_name])


def _dates(period: Period) -> str:
    """Return `2026-10-01-to-2026-10-31`, or `to-2026-10-31` for a period since the epoch."""
    last = f"to-{iso(period.to_ms - 1)[:10]}"
    return f"{iso(period.from_ms)[:10]}-{last}" if period.from_ms else last


HANDLERS = (export_events, export_runs, export_artifacts)
