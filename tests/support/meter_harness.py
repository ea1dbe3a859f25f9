"""A meter in a directory of its own, with a manual clock and settable stored bytes."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from hitrate.billing.meter import Meter
from hitrate.billing.meter_file import MeterFile
from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.teams.cycles import BillingSchedule
from hitrate.teams.models import Team
from hitrate.teams.settings import TeamSettings


def ms(text: str) -> int:
    """Return the UTC milliseconds of an ISO date or time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def team_on(day: int = 1, name: str = "ours") -> Team:
    """Return a team whose billing cycles begin on this day of the month."""
    return Team(f"team_{name}", name, name, 0, TeamSettings(cycle=BillingSchedule(day)))


def with_schedule(team: Team, schedule: BillingSchedule) -> Team:
    """Return the team with another billing schedule."""
    settings = msgspec.structs.replace(team.settings, cycle=schedule)
    return Team(team.id, team.slug, team.name, team.created_at_ms, settings)


class MeterHarness:
    """A meter that can be killed and restarted on the same data directory.

    `stored_bytes` holds what each team stores, by team id.
    """

    def __init__(self, data_dir: Path, now: str = "2026-03-10") -> None:
        self.data_dir = data_dir
        self.clock = ManualClock(ms(now))
        self.stored_bytes: Counter[str] = Counter()
        self.meter = self._open_meter()
        self.file = MeterFile(data_dir, self.clock)

    @property
    def path(self) -> Path:
        return DataDir(self.data_dir).meter

    def kill(self) -> None:
        """Drop the meter without flushing, as SIGKILL does, and open a new one."""
        os.close(self.meter._fd)
        self.meter._fd = -1
        self.meter = self._open_meter()

    def restart(self) -> None:
        """Close the meter and open a new one."""
        self.meter.close()
        self.meter = self._open_meter()

    def set_time(self, now: str) -> None:
        """Set the clock to an ISO date or time."""
        self.clock.value_ms = ms(now)

    def usage(self, team: Team) -> dict[str, Any]:
        """Return the team's nonzero usage in the current cycle."""
        _, usage = self.meter.snapshot(team)
        return {name: amount for name, amount in msgspec.structs.asdict(usage).items() if amount}

    def _open_meter(self) -> Meter:
        meter = Meter(self.data_dir, self.stored_bytes.__getitem__, self.clock)
        meter.open()
        return meter
