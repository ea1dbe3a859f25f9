"""Attribution: the producer of an artifact is found from the events of the runs that missed it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.artifact_attribution import LOOKBACK_MS, ArtifactAttribution
from hitrate.artifacts.catalog import ArtifactCatalog, UnattributedArtifact
from hitrate.errors import DatabaseError, EventStoreUnavailable
from hitrate.events.wire import Batch, CacheEvent
from tests.support.analytics_fixture import (
    OTHER_TEAM_ID,
    TEAM_ID,
    TEAM_TOKEN,
    USER_TOKEN,
    AnalyticsFixture,
    EventStoreFixture,
)
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS, EventKind

NAME = "0123456789abcdef"
MINUTE_MS = 60_000
LOCAL_AND_REMOTE_MISS = (LOCAL_MISS, REMOTE_MISS)


class AttributionFixture:
    """Uploads artifacts and loads events at given minutes after the start, on a manual clock."""

    def __init__(self, analytics: AnalyticsFixture, event_store: EventStoreFixture) -> None:
        self.analytics = analytics
        self.event_store = event_store
        self.clock = analytics.clock
        self.start = self.clock.now_ms()
        self.job = ArtifactAttribution(event_store.duckdb, analytics.catalog, self.clock)
        self._loaded = 0

    def upload(
        self, minute: float, name: str = NAME, token: str = TEAM_TOKEN, team: str = TEAM_ID
    ) -> None:
        """Store an artifact."""
        self._advance(minute)
        self.analytics.add_artifacts({(team, name): 5.0}, token=token, at_ms=self._at(minute))

    def events(
        self,
        minute: float,
        session: str,
        *kinds: EventKind,
        name: str = NAME,
        token: str = TEAM_TOKEN,
        team: str = TEAM_ID,
    ) -> None:
        """Load the events of one task."""
        self._advance(minute)
        self._loaded += 1
        items = [CacheEvent(session, source, kind, name) for source, kind in kinds]
        client = (None, None, None)
        batch = Batch(team, token, self._at(minute), *client, f"{self._loaded}", items)
        self.event_store.load(f"{self._loaded}", [batch])

    def producer(self, name: str = NAME, team: str = TEAM_ID) -> str | None:
        """Return the producer of an artifact after a pass of the attribution."""
        assert self.job.run(force=True)
        return self.analytics.catalog.find_many(team, [name])[name].producer

    def _at(self, minute: float) -> int:
        return self.start + round(minute * MINUTE_MS)

    def _advance(self, minute: float) -> None:
        self.clock.value_ms = max(self.clock.value_ms, self._at(minute))


@pytest.fixture
def attribution(tmp_path: Path) -> Iterator[AttributionFixture]:
    analytics = AnalyticsFixture(tmp_path)
    with analytics.event_store() as event_store:
        yield AttributionFixture(analytics, event_store)
    analytics.close()


def test_events_after_the_upload_determine_the_producer(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    assert attribution.producer() is None
    attribution.events(1, "builder", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "builder"


def test_events_before_the_upload_determine_the_producer(attribution: AttributionFixture) -> None:
    attribution.events(0, "builder", *LOCAL_AND_REMOTE_MISS)
    attribution.upload(50)
    assert attribution.producer() == "builder"


def test_producer_is_the_run_whose_miss_is_nearest_to_the_upload(
    attribution: AttributionFixture,
) -> None:
    attribution.events(0, "long before", *LOCAL_AND_REMOTE_MISS)
    attribution.upload(5)
    attribution.events(6, "builder", *LOCAL_AND_REMOTE_MISS)
    attribution.events(20, "long after", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "builder"


def test_run_with_a_remote_hit_is_not_the_producer(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    attribution.events(1, "user", LOCAL_MISS, REMOTE_HIT)
    assert attribution.producer() is None
    attribution.events(9, "builder", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "builder"


def test_run_with_a_remote_hit_in_a_later_batch_is_not_the_producer(
    attribution: AttributionFixture,
) -> None:
    attribution.upload(0)
    attribution.events(1, "user", LOCAL_MISS)
    attribution.events(2, "user", REMOTE_HIT)
    assert attribution.producer() is None


def test_producer_stays_after_it_hits_its_own_artifact(attribution: AttributionFixture) -> None:
    attribution.events(0, "watcher", *LOCAL_AND_REMOTE_MISS)
    attribution.upload(1)
    attribution.events(2, "watcher", LOCAL_HIT)
    assert attribution.producer() == "watcher"


def test_run_without_a_remote_lookup_may_be_the_producer(
    attribution: AttributionFixture,
) -> None:
    attribution.upload(0)
    attribution.events(1, "builder", LOCAL_MISS)
    assert attribution.producer() == "builder"


def test_run_with_only_a_local_hit_is_not_the_producer(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    attribution.events(1, "user", LOCAL_HIT)
    assert attribution.producer() is None


def test_run_with_another_token_team_or_hash_is_not_the_producer(
    attribution: AttributionFixture,
) -> None:
    attribution.upload(0)
    attribution.events(1, "with another token", *LOCAL_AND_REMOTE_MISS, token=USER_TOKEN)
    attribution.events(1, "in another team", *LOCAL_AND_REMOTE_MISS, team=OTHER_TEAM_ID)
    attribution.events(1, "of another hash", *LOCAL_AND_REMOTE_MISS, name=NAME.upper())
    assert attribution.producer() is None


@pytest.mark.parametrize("name", ["f" * 64, "0x12", "ffffffffffffffff", "12HKQaOmR5t5Uy6vdcQs"])
def test_hashes_of_any_form_get_a_producer(attribution: AttributionFixture, name: str) -> None:
    attribution.upload(0, name=name)
    attribution.events(1, "builder", *LOCAL_AND_REMOTE_MISS, name=name)
    assert attribution.producer(name) == "builder"


def test_each_team_has_its_own_producer_of_the_same_hash(attribution: AttributionFixture) -> None:
    for team in (TEAM_ID, OTHER_TEAM_ID):
        attribution.upload(0, team=team)
        attribution.events(1, f"builder of {team}", *LOCAL_AND_REMOTE_MISS, team=team)
    assert attribution.producer() == f"builder of {TEAM_ID}"
    assert attribution.producer(team=OTHER_TEAM_ID) == f"builder of {OTHER_TEAM_ID}"


def test_replaced_artifact_gets_a_new_producer(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    attribution.events(1, "first", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "first"
    attribution.upload(10)
    attribution.events(11, "second", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "second"


def test_artifact_replaced_during_a_pass_does_not_get_the_old_producer(
    attribution: AttributionFixture,
) -> None:
    attribution.upload(0)
    [unattributed] = attribution.analytics.catalog.unattributed(0, 10)
    attribution.upload(1)
    attribution.analytics.catalog.set_producers([(unattributed, "old producer")])
    [stored] = attribution.analytics.catalog.find_many(TEAM_ID, [NAME]).values()
    assert stored.producer is None


def test_artifact_without_events_has_no_producer_and_does_not_block_others(
    attribution: AttributionFixture,
) -> None:
    attribution.upload(0, name="without-events")
    attribution.upload(1)
    attribution.events(2, "builder", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() == "builder"
    assert attribution.producer("without-events") is None


def test_uploads_older_than_the_lookback_are_ignored(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    attribution.events(LOOKBACK_MS / MINUTE_MS + 1, "builder", *LOCAL_AND_REMOTE_MISS)
    assert attribution.producer() is None


def test_run_makes_a_pass_at_most_once_a_second_and_reports_it(
    attribution: AttributionFixture,
) -> None:
    assert attribution.job.run()
    assert not attribution.job.run()
    assert attribution.job.run(force=True)


def test_database_error_is_not_raised_and_the_pass_is_repeated(
    attribution: AttributionFixture,
) -> None:
    class FailingCatalog(ArtifactCatalog):
        def unattributed(self, since_ms: int, limit: int) -> list[UnattributedArtifact]:
            raise DatabaseError(f"unavailable: {since_ms}, {limit}")

    job = ArtifactAttribution(
        attribution.event_store.duckdb,
        FailingCatalog(attribution.analytics.engine),
        attribution.clock,
    )
    assert not job.run(force=True)


def test_unavailable_event_store_is_raised(attribution: AttributionFixture) -> None:
    attribution.upload(0)
    attribution.event_store.duckdb.close()
    with pytest.raises(EventStoreUnavailable):
        attribution.job.run(force=True)
