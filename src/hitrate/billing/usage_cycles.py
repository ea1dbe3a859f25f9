"""Past billing cycles, one row each; written once a cycle has ended, by whoever metered it."""

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite import insert

from hitrate.billing.pricing import Amounts, cost
from hitrate.db.engine import map_database_errors, transaction
from hitrate.db.tables import USAGE_CYCLES
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team

_MOST = 2**63 - 1
"""The largest number that the database keeps."""


class PastCycle(msgspec.Struct, rename="camel"):
    """What a team used in a cycle that has ended. `cost` in millionths of the currency, at the
    prices of its end."""

    start_ms: int
    end_ms: int
    uploaded_bytes: int
    downloaded_bytes: int
    requests: int
    events: int
    stored_bytes: int
    average_stored_bytes: int
    currency: str
    cost: int


class Ledger:
    """Safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, team: Team, cycle: Cycle, used: Amounts) -> None:
        """Keep a cycle that has ended; writing it again changes nothing."""
        past = msgspec.structs.asdict(_past_cycle(team, cycle, used))
        row = {"team_id": team.id, "start_at": past.pop("start_ms"), "end_at": past.pop("end_ms")}
        with transaction(self._engine) as connection:
            connection.execute(insert(USAGE_CYCLES).on_conflict_do_nothing(), row | past)

    def past(
        self, team: Team, limit: int, ended: Iterable[tuple[Cycle, Amounts]]
    ) -> list[PastCycle]:
        """The last cycles that ended, newest first; with `ended`, which the meter still has."""
        query = (
            sa.select(USAGE_CYCLES)
            .where(USAGE_CYCLES.c.team_id == team.id)
            .order_by(USAGE_CYCLES.c.start_at.desc())
            .limit(limit)
        )
        with map_database_errors(), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        written = [
            PastCycle(row.start_at, row.end_at, *(getattr(row, name) for name in _FIELDS))
            for row in rows
        ]
        all_of_them = {past.start_ms: past for past in (_past_cycle(team, *one) for one in ended)}
        all_of_them |= {past.start_ms: past for past in written}
        return [all_of_them[start_ms] for start_ms in sorted(all_of_them, reverse=True)][:limit]


_FIELDS = PastCycle.__struct_fields__[2:]


def _past_cycle(team: Team, cycle: Cycle, used: Amounts) -> PastCycle:
    length_ms = cycle.end_ms - cycle.start_ms
    return PastCycle(
        start_ms=cycle.start_ms,
        end_ms=cycle.end_ms,
        uploaded_bytes=used.uploaded_bytes,
        downloaded_bytes=used.downloaded_bytes,
        requests=used.requests,
        events=used.events,
        stored_bytes=used.stored_bytes,
        average_stored_bytes=used.stored_byte_ms // length_ms,
        currency=team.settings.currency,
        cost=min(cost(team.settings.prices, used, length_ms), _MOST),
    )
