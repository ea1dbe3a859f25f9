"""Data directories with a demo team, created at a fixed time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from hitrate.auth.accounts import AccountStore
from hitrate.clock import Clock, ManualClock
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.demo.create import DemoSummary, create_demo
from hitrate.demo.shared_cache import Run
from hitrate.demo.simulator import WorkloadSimulator
from tests.support.database import put_empty_database

# A Wednesday, in the afternoon.
NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
DAYS = 7


def ms(moment: datetime) -> int:
    """Return milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def all_runs(simulator: WorkloadSimulator) -> list[Run]:
    """Return all runs of a simulation."""
    return [run for day in simulator.days() for run in day]


@dataclass(frozen=True)
class DemoDir:
    """A data directory with a demo team, and its simulated runs."""

    path: Path
    summary: DemoSummary
    runs: list[Run]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows of the event store."""
        with duckdb.connect(str(DataDir(self.path).event_store), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def accounts(self) -> AccountStore:
        """Open the accounts."""
        engine = open_database(self.path)
        engine.dispose()
        return AccountStore(engine, Clock())


def create_demo_dir(path: Path, seed: int = 1) -> DemoDir:
    """Create a data directory with a demo team of DAYS days."""
    path.mkdir(mode=0o700)
    put_empty_database(path)
    engine = open_database(path)
    accounts = AccountStore(engine, Clock())
    summary = create_demo(
        Settings(data_dir=path), accounts, "demo", DAYS, seed, ManualClock(ms(NOW))
    )
    engine.dispose()
    return DemoDir(path, summary, all_runs(WorkloadSimulator(seed, DAYS, ms(NOW))))
