"""Rows of the queries, and their conversion to API schemas."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import duckdb

from hitrate.api_schemas import Client, Quartiles, RunInfo, TimeSaved, Transfers
from hitrate.auth.models import Token
from hitrate.clock import iso

Row = TypeVar("Row", bound=NamedTuple)


class RunTotalsRow(NamedTuple):
    """Totals of a group of runs.

    `group_key` is the start of a bucket or the value of a property, or None for all runs.
    """

    group_key: Any
    runs: int
    tasks: int
    local_hits: int
    remote_hits: int
    local_ms: int
    remote_ms: int
    events: int
    duplicates: int
    anomalies: int
    hit_rate_quartiles: list[float] | None


class TransferTotalsRow(NamedTuple):
    """Totals of a group of transfers, with the group keys of RunTotalsRow."""

    group_key: Any
    uploads: int
    uploaded_bytes: int
    downloads: int
    downloaded_bytes: int


NO_RUNS = RunTotalsRow(None, 0, 0, 0, 0, 0, 0, 0, 0, 0, None)
NO_TRANSFERS = TransferTotalsRow(None, 0, 0, 0, 0)


class RunRow(NamedTuple):
    """A run, its totals, and the client and token that began it."""

    id: int
    session_id: str
    started_at: int
    ended_at: int
    tasks: int
    local_hits: int
    remote_hits: int
    local_ms: int
    remote_ms: int
    events: int
    duplicates: int
    anomalies: int
    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str


class TaskRow(NamedTuple):
    """A task of a run. `hit_ms` is the longest duration that its hits reported."""

    hash: str
    outcome: str
    hit_ms: int | None
    saved_ms: int | None


class HitsRow(NamedTuple):
    """The hits of an artifact."""

    hash: str
    local_hits: int
    remote_hits: int
    saved_ms: int | None


class UseRow(NamedTuple):
    """A task that requested an artifact, and the client and token of its run."""

    session_id: str
    last_at: int
    outcome: str
    saved_ms: int | None
    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str


class HashRow(NamedTuple):
    """An artifact hash."""

    hash: str


class TokenRow(NamedTuple):
    """The id of a token that sent events or transfers."""

    token_id: str


class ClientNamesRow(NamedTuple):
    """All values of CI and agent that clients of a team reported."""

    ci: list[str] | None
    agents: list[str] | None


class ChangeToken(NamedTuple):
    """A value that changes whenever the runs of a team change."""

    runs: int
    events: int


def fetch(
    cursor: duckdb.DuckDBPyConnection, row_type: type[Row], sql: str, values: dict[str, Any]
) -> list[Row]:
    """Run a query whose columns are the fields of `row_type`, in order.

    Raises TypeError for another number of columns.
    """
    return [row_type._make(row) for row in cursor.execute(sql, values).fetchall()]


def run_stats(runs: RunTotalsRow, transfers: TransferTotalsRow) -> dict[str, Any]:
    """Return the fields of RunStats."""
    return {
        "runs": runs.runs,
        **_task_stats(runs),
        "artifacts": Transfers(
            transfers.uploads,
            transfers.uploaded_bytes,
            transfers.downloads,
            transfers.downloaded_bytes,
        ),
    }


def quartiles(runs: RunTotalsRow) -> Quartiles:
    """Return the quartiles of the runs' hit rates."""
    return Quartiles(*(runs.hit_rate_quartiles or (None, None, None)))


def run_info(row: RunRow, tokens: Mapping[str, Token]) -> RunInfo:
    """Convert a run; `tokens` supplies the current label and user of its token."""
    return RunInfo(
        session_id=row.session_id,
        started_at=iso(row.started_at),
        ended_at=iso(row.ended_at),
        sender=client(row, tokens),
        **_task_stats(row),
    )


class ClientColumns(Protocol):
    """A row with the client and token of a request."""

    @property
    def ci(self) -> str | None: ...
    @property
    def interactive(self) -> bool | None: ...
    @property
    def agent(self) -> str | None: ...
    @property
    def token_id(self) -> str: ...


def client(row: ClientColumns, tokens: Mapping[str, Token]) -> Client:
    """Convert client and token; `tokens` supplies the current label and user of the token."""
    token = tokens.get(row.token_id)
    label = None if token is None else token.label
    user = None if token is None or token.user is None else token.user.email
    return Client(row.ci, row.interactive, row.agent, row.token_id, label, user)


def _task_stats(row: RunTotalsRow | RunRow) -> dict[str, Any]:
    """Return the fields of TaskStats."""
    hits = row.local_hits + row.remote_hits
    return {
        "tasks": row.tasks,
        "local_hits": row.local_hits,
        "remote_hits": row.remote_hits,
        "misses": row.tasks - hits,
        "hit_rate": hits / row.tasks if row.tasks else None,
        "time_saved_ms": TimeSaved(row.local_ms, row.remote_ms),
        "events": row.events,
        "duplicates": row.duplicates,
        "anomalies": row.anomalies,
    }
