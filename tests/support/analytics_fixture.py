"""A database with two teams, and event stores beside it, for tests of the reports."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.reports import Reports
from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.catalog import ArtifactCatalog
from hitrate.artifacts.models import Artifact, ArtifactKey
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.accounts import AccountStore
from hitrate.clock import ManualClock
from hitrate.db.engine import open_database, transaction
from hitrate.db.tables import TEAMS, TOKENS, USERS
from hitrate.events import wire
from hitrate.events.models import LoadResult
from hitrate.events.store import DuckDBEventStore
from hitrate.teams.models import Team
from tests.support.database import put_empty_database
from tests.support.reference_analytics import ArtifactDurations

TEAM_ID, OTHER_TEAM_ID = "t", "t/a"
"""Ambiguous on purpose: session `a/s` of the first and `s` of the second both read `t/a/s`."""

TEAM_TOKEN, USER_TOKEN, UNKNOWN_TOKEN = "tok_team", "tok_person", "tok_gone"
TOKEN_IDS = (TEAM_TOKEN, USER_TOKEN, UNKNOWN_TOKEN)
"""Tokens that send events. The last does not exist in the database."""

USER_EMAIL = "ada@example.com"
MAX_LINE_BYTES = 2**26


class AnalyticsFixture:
    """The SQLite database with two teams, and the event stores that a test opens on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        put_empty_database(directory)
        self.engine = open_database(directory)
        self.accounts = AccountStore(self.engine, self.clock)
        blobs = BlobStore(directory / "artifacts", 0)
        self.artifacts = ArtifactStore(self.engine, blobs, self.clock)
        self.catalog = ArtifactCatalog(self.engine)
        self._add_accounts()

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()

    def add_artifacts(
        self, durations: ArtifactDurations, *, token: str = TEAM_TOKEN, at_ms: int = 0
    ) -> None:
        """Add index rows of artifacts with these durations, without their bodies."""
        rows = [
            Artifact(
                ArtifactKey(team, name), f"{team}-{name}-{at_ms}", 10, duration, None, None, None,
                None, None, None, token, at_ms,
            )
            for (team, name), duration in durations.items()
        ]  # fmt: skip
        with transaction(self.engine) as connection:
            self.artifacts.index.upsert(connection, rows)

    def create_event_store(self, directory: Path) -> DuckDBEventStore:
        """Create an event store that knows the artifacts, without opening it."""
        return DuckDBEventStore(directory, MAX_LINE_BYTES, self.artifacts.index.durations)

    @contextmanager
    def event_store(self) -> Iterator["EventStoreFixture"]:
        """Open an empty event store for the length of a `with` block."""
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            event_store = EventStoreFixture(self, Path(directory))
            event_store.duckdb.open()
            try:
                yield event_store
            finally:
                event_store.duckdb.close()

    def _add_accounts(self) -> None:
        with transaction(self.engine) as connection:
            for team_id, slug in ((TEAM_ID, "ours"), (OTHER_TEAM_ID, "others")):
                team_row = {"id": team_id, "slug": slug, "name": slug, "created_at": 0}
                connection.execute(sa.insert(TEAMS).values(team_row))
            user = {"id": "usr_ada", "email": USER_EMAIL, "username": "ada", "name": "Ada"}
            connection.execute(sa.insert(USERS).values({**user, "created_at": 0}))
            for token_id, user_id in ((TEAM_TOKEN, None), (USER_TOKEN, "usr_ada")):
                token = {"id": token_id, "hash": token_id.encode(), "label": f"label of {token_id}"}
                owner = {"team_id": TEAM_ID, "user_id": user_id, "created_at": 0}
                connection.execute(sa.insert(TOKENS).values({**token, **owner}))


class EventStoreFixture:
    """An event store, with the reports that read it."""

    def __init__(self, analytics: AnalyticsFixture, directory: Path) -> None:
        self.directory = directory
        self.duckdb = analytics.create_event_store(directory)
        self.reports = Reports(self.duckdb, analytics.artifacts, analytics.accounts.tokens)
        self.artifact_reports = ArtifactReports(self.reports, analytics.catalog)

    def load(self, name: str, batches: Iterable[wire.Batch]) -> LoadResult:
        """Load batches as one segment of that name."""
        segment = self.directory / "segment.ndjson"
        segment.write_bytes(b"".join(map(wire.encode_batch, batches)))
        return self.duckdb.load(segment, name)

    def load_all(self, segments: Sequence[Sequence[wire.Batch]]) -> None:
        """Load segments one after the other."""
        for number, batches in enumerate(segments):
            self.load(f"segment {number}", batches)

    def reopen(self) -> None:
        """Close and open the store, as a new process does."""
        self.duckdb.close()
        self.duckdb.open()


def team(team_id: str) -> Team:
    """Return a team as routes receive it."""
    return Team(team_id, team_id, team_id, 0)
