"""Closed billing cycles in the database table `usage_cycles`, one row for each team and cycle."""

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite import insert

from hitrate.billing.pricing import UsageTotals, cost_micros
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import USAGE_CYCLES
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team

_MAX_INTEGER = 2**63 - 1
"""Largest integer that SQLite stores."""


class ClosedCycle(msgspec.Struct):
    """Usage of a team in a billing cycle that has ended, and its cost at the prices of its end."""

    start_ms: int
    end_ms: int
    uploaded_bytes: int
    downloaded_bytes: int
    requests: int
    events: int
    stored_bytes: int
    average_stored_bytes: int
    currency: str
    cost_micros: int

    @classmethod
    def from_usage(cls, team: Team, cycle: Cycle, usage: UsageTotals) -> "ClosedCycle":
        """Price the usage with the team's current settings."""
        cost = cost_micros(team.settings.prices, usage, cycle.length_ms)
        return cls(
            start_ms=cycle.start_ms,
            end_ms=cycle.end_ms,
            uploaded_bytes=usage.uploaded_bytes,
            downloaded_bytes=usage.downloaded_bytes,
            requests=usage.requests,
            events=usage.events,
            stored_bytes=usage.stored_bytes,
            average_stored_bytes=usage.stored_byte_ms // cycle.length_ms,
            currency=team.settings.currency,
            cost_micros=min(cost, _MAX_INTEGER),
        )


_COLUMNS = {name: name for name in ClosedCycle.__struct_fields__} | {
    "start_ms": "start_at",
    "end_ms": "end_at",
    "cost_micros": "cost",
}
"""Column of each field of ClosedCycle."""


class UsageCycleStore:
    """Stores closed cycles. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, team: Team, cycle: Cycle, usage: UsageTotals) -> None:
        """Store a closed cycle. Adding it again changes nothing. Raises DatabaseError."""
        closed = ClosedCycle.from_usage(team, cycle, usage)
        row: dict[str, Any] = {column: getattr(closed, name) for name, column in _COLUMNS.items()}
        row["team_id"] = team.id
        with transaction(self._engine) as connection:
            connection.execute(insert(USAGE_CYCLES).on_conflict_do_nothing(), row)

    def latest(
        self, team: Team, limit: int, unsaved: Iterable[tuple[Cycle, UsageTotals]] = ()
    ) -> list[ClosedCycle]:
        """Return the last `limit` closed cycles of a team, newest first.

        `unsaved` are closed cycles that the meter still holds; a stored one takes precedence.
        Raises DatabaseError.
        """
        query = (
            sa.select(USAGE_CYCLES)
            .where(USAGE_CYCLES.c.team_id == team.id)
            .order_by(USAGE_CYCLES.c.start_at.desc())
            .limit(limit)
        )
        with map_database_errors(), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        stored_cycles = [
            ClosedCycle(**{name: getattr(row, column) for name, column in _COLUMNS.items()})
            for row in rows
        ]
        unsaved_cycles = [ClosedCycle.from_usage(team, *item) for item in unsaved]
        cycles = {cycle.start_ms: cycle for cycle in (*unsaved_cycles, *stored_cycles)}
        return [cycles[start_ms] for start_ms in sorted(cycles, reverse=True)][:limit]
