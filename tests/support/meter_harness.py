"""A meter on a folder of its own, with teams, what they store and a clock."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from hitrate.billing.meter import Meter
from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.teams.cycles import BillingSchedule
from hitrate.teams.models import Team
from hitrate.teams.settings import TeamSettings


def ms(text: str) -> int:
    """UTC milliseconds of an ISO date or time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def team_on(day: int = 1, name: str = "ours") -> Team:
    """A team whose cycles begin on that day."""
    return Team(f"team_{name}", name, name, 0, TeamSettings(cycle=BillingSchedule(day)))


def with_plan(team: Team, plan: BillingSchedule) -> Team:
    """The team with another plan."""
    settings = msgspec.structs.replace(team.settings, cycle=plan)
    return Team(team.id, team.slug, team.name, team.created_at_ms, settings)


class MeterHarness:
    """What is stored is said by the test; `kill` and `reopen` act on the one folder."""

    def __init__(self, folder: Path, at: str = "2026-03-10") -> None:
        self.folder = folder
        self.clock = ManualClock(ms(at))
        self.stored: Counter[str] = Counter()
        self.meter = self._open()

    @property
    def path(self) -> Path:
        return DataDir(self.folder).meter

    def kill(self) -> None:
        """As SIGKILL: nothing is flushed, nothing said; a new meter opens the folder."""
        os.close(self.meter._fd)
        self.meter._fd = -1
        self.meter = self._open()

    def reopen(self) -> None:
        """As a stop and a start."""
        self.meter.close()
        self.meter = self._open()

    def at(self, moment: str) -> None:
        """Set the clock."""
        self.clock.value_ms = ms(moment)

    def used(self, team: Team) -> dict[str, Any]:
        """What the team used in the cycle in progress, that which is not 0."""
        _, used = self.meter.reading(team)
        return {name: amount for name, amount in msgspec.structs.asdict(used).items() if amount}

    def _open(self) -> Meter:
        meter = Meter(self.folder, self.stored.__getitem__, self.clock)
        meter.open()
        return meter
