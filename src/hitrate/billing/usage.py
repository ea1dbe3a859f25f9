"""Usage of teams: used, remaining, cost and forecast of the current and past billing cycles.

A closed cycle is one row of the database table `usage_cycles`.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite import insert

from hitrate.billing.pricing import UsageTotals, cost_micros, forecast
from hitrate.billing.quotas import TeamState, reached_limits
from hitrate.clock import iso
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import USAGE_CYCLES
from hitrate.money import format_money
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team
from hitrate.teams.settings import MEASURES, Limits

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


class CycleUsage(msgspec.Struct, rename="camel"):
    """Usage in a billing cycle, with its cost as decimal text.

    `stored_bytes` is the value now or at the end of the cycle, `average_stored_bytes` the average
    over its time.
    """

    uploaded_bytes: int
    downloaded_bytes: int
    requests: int
    events: int
    stored_bytes: int
    average_stored_bytes: int
    cost: str

    @classmethod
    def from_totals(cls, totals: UsageTotals, duration_ms: int, cost: int) -> "CycleUsage":
        """`duration_ms` is the time over which storage is averaged, `cost` is in micros."""
        return cls(
            **{name: getattr(totals, name) for name in MEASURES},
            average_stored_bytes=totals.stored_byte_ms // duration_ms,
            cost=format_money(cost),
        )


class UsageForecast(CycleUsage, rename="camel"):
    """Usage at the end of the cycle if current usage continues.

    `over_limit` names the limits that will be reached, `over_spend_cap` tells whether the spend
    cap will be.
    """

    over_limit: list[str]
    over_spend_cap: bool


class CurrentCycle(msgspec.Struct, rename="camel"):
    """The current billing cycle. `remaining`: of each limit, at least 0; null: no limit."""

    start: str
    end: str
    used: CycleUsage
    limits: Limits
    remaining: Limits
    spend_cap: str | None
    spend_remaining: str | None
    forecast: UsageForecast

    @classmethod
    def from_totals(
        cls, team: Team, cycle: Cycle, totals: UsageTotals, now_ms: int
    ) -> "CurrentCycle":
        settings = team.settings
        elapsed_ms = max(1, now_ms - cycle.start_ms)
        expected = forecast(totals, elapsed_ms, max(0, cycle.end_ms - now_ms))
        cost = cost_micros(settings.prices, totals, cycle.length_ms)
        expected_cost = cost_micros(settings.prices, expected, cycle.length_ms)
        cap = settings.spend_cap
        return cls(
            start=iso(cycle.start_ms),
            end=iso(cycle.end_ms),
            used=CycleUsage.from_totals(totals, elapsed_ms, cost),
            limits=settings.limits,
            remaining=_remaining(settings.limits, totals),
            spend_cap=None if cap is None else format_money(cap),
            spend_remaining=None if cap is None else format_money(max(0, cap - cost)),
            forecast=UsageForecast(
                **msgspec.structs.asdict(
                    CycleUsage.from_totals(expected, cycle.length_ms, expected_cost)
                ),
                over_limit=reached_limits(settings.limits, expected),
                over_spend_cap=cap is not None and expected_cost >= cap,
            ),
        )


class PastCycle(msgspec.Struct, rename="camel"):
    """A closed billing cycle, at the prices of its end."""

    start: str
    end: str
    currency: str
    used: CycleUsage

    @classmethod
    def from_closed_cycle(cls, cycle: ClosedCycle) -> "PastCycle":
        used = CycleUsage(
            **{name: getattr(cycle, name) for name in MEASURES},
            average_stored_bytes=cycle.average_stored_bytes,
            cost=format_money(cycle.cost_micros),
        )
        return cls(iso(cycle.start_ms), iso(cycle.end_ms), cycle.currency, used)


class TeamUsageResponse(msgspec.Struct, rename="camel"):
    """Usage of a team. Money is decimal text in `currency`; `past` is newest first."""

    team: str
    state: TeamState
    currency: str
    current: CurrentCycle
    past: list[PastCycle]

    @classmethod
    def from_totals(
        cls,
        team: Team,
        state: TeamState,
        cycle: Cycle,
        totals: UsageTotals,
        past: Iterable[ClosedCycle],
        now_ms: int,
    ) -> "TeamUsageResponse":
        return cls(
            team=team.slug,
            state=state,
            currency=team.settings.currency,
            current=CurrentCycle.from_totals(team, cycle, totals, now_ms),
            past=[PastCycle.from_closed_cycle(closed) for closed in past],
        )


class UsageSource(Protocol):
    """Source of metered usage: the meter of a running server, or the meter's file."""

    def snapshot(self, team: Team) -> tuple[Cycle, UsageTotals]:
        """Return the current cycle and the usage in it so far."""

    def closed_cycles(self, team: Team) -> list[tuple[Cycle, UsageTotals]]:
        """Return the cycles that have ended but may not be stored yet, with their usage."""


def team_usage(
    team: Team,
    state: TeamState,
    source: UsageSource,
    usage_cycles: UsageCycleStore,
    now_ms: int,
    past_cycles: int,
) -> TeamUsageResponse:
    """Report the usage of a team in the current cycle and in the last `past_cycles` cycles."""
    cycle, totals = source.snapshot(team)
    past = usage_cycles.latest(team, past_cycles, source.closed_cycles(team))
    return TeamUsageResponse.from_totals(team, state, cycle, totals, past, now_ms)


def _remaining(limits: Limits, totals: UsageTotals) -> Limits:
    remaining = {
        name: None if limit is None else max(0, limit - getattr(totals, name))
        for name, limit in msgspec.structs.asdict(limits).items()
    }
    return Limits(**remaining)
