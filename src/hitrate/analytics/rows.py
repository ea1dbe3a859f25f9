"""Rows of queries as what is shown. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from hitrate.api_schemas import Client, Quartiles, RunInfo, TimeSaved, Transfers
from hitrate.auth.models import Token
from hitrate.clock import iso

Row = tuple[Any, ...]
Tokens = Mapping[str, Token]

MEASURED = 10
"""Columns of queries.MEASURES."""

_NOTHING: Row = (0, 0, 0, 0, 0, 0, 0, 0, 0, None)


def measures(row: Row | None, moved: Row | None) -> dict[str, Any]:
    """The fields of RunStats, from rows of MEASURES and MOVED."""
    runs, tasks, local, remote, local_ms, remote_ms, *rest = (row or _NOTHING)[:9]
    return {
        "runs": runs,
        **_counts(tasks, local, remote, local_ms, remote_ms, *rest),
        "artifacts": Transfers(*(moved or ())),
    }


def bands(row: Row | None) -> Quartiles:
    """How the runs' hit rates are spread."""
    return Quartiles(*((row or _NOTHING)[9] or (None, None, None)))


def run_info(row: Row, tokens: Tokens) -> RunInfo:
    """From a row of RUN."""
    _, session_id, started_ms, ended_ms, *counted = row[:12]
    return RunInfo(
        session_id=session_id,
        started_at=iso(started_ms),
        ended_at=iso(ended_ms),
        sender=sender(row[12:], tokens),
        **_counts(*counted),
    )


def sender(row: Sequence[Any], tokens: Tokens) -> Client:
    """From ci, interactive, agent and token."""
    token = tokens.get(row[3])
    label = None if token is None else token.label
    user = None if token is None or token.user is None else token.user.email
    ci, interactive, agent, token_id = row
    return Client(ci, interactive, agent, token_id, label, user)


def _counts(
    tasks: int,
    local: int,
    remote: int,
    local_ms: int,
    remote_ms: int,
    events: int,
    duplicates: int,
    anomalies: int,
) -> dict[str, Any]:
    return {
        "tasks": tasks,
        "local_hits": local,
        "remote_hits": remote,
        "misses": tasks - local - remote,
        "hit_rate": (local + remote) / tasks if tasks else None,
        "time_saved_ms": TimeSaved(local_ms, remote_ms),
        "events": events,
        "duplicates": duplicates,
        "anomalies": anomalies,
    }
