"""Which run made an artifact: found from the events of those that missed it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.artifacts.catalog import ArtifactCatalog, UnattributedArtifact
from hitrate.attribution import LOOKBACK_MS, ArtifactAttribution
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
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS, Pair

NAME = "0123456789abcdef"
MINUTE_MS = 60_000
COLD = (LOCAL_MISS, REMOTE_MISS)


class Workshop:
    """Where artifacts are made and events come of it; minutes are counted from the first."""

    def __init__(self, analytics: AnalyticsFixture, event_store: EventStoreFixture) -> None:
        self.analytics = analytics
        self.event_store = event_store
        self.clock = analytics.clock
        self.start = self.clock.now_ms()
        self.makers = ArtifactAttribution(event_store.duckdb, analytics.catalog, self.clock)
        self._loaded = 0

    def upload(
        self, minute: float, name: str = NAME, token: str = TEAM_TOKEN, team: str = TEAM_ID
    ) -> None:
        """An artifact that was stored in that minute."""
        self._wait(minute)
        self.analytics.add_artifacts({(team, name): 5.0}, token=token, at_ms=self._at(minute))

    def events(
        self, minute: float, session: str, *kinds: Pair, name: str = NAME, token: str = TEAM_TOKEN,
        team: str = TEAM_ID,
    ) -> None:  # fmt: skip
        """Events of one task that came in that minute."""
        self._wait(minute)
        self._loaded += 1
        items = [CacheEvent(session, source, kind, name) for source, kind in kinds]
        client = (None, None, None)
        batch = Batch(team, token, self._at(minute), *client, f"{self._loaded}", items)
        self.event_store.load(f"{self._loaded}", [batch])

    def maker(self, name: str = NAME, team: str = TEAM_ID) -> str | None:
        """Who made it, as far as is known after a look."""
        assert self.makers.run(force=True)
        return self.analytics.catalog.find_many(team, [name])[name].producer

    def _at(self, minute: float) -> int:
        return self.start + round(minute * MINUTE_MS)

    def _wait(self, minute: float) -> None:
        self.clock.value_ms = max(self.clock.value_ms, self._at(minute))


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    analytics = AnalyticsFixture(tmp_path)
    with analytics.event_store() as event_store:
        yield Workshop(analytics, event_store)
    analytics.close()


def test_events_that_come_after_the_upload_tell_who_made_it(workshop: Workshop) -> None:
    workshop.upload(0)
    assert workshop.maker() is None
    workshop.events(1, "builder", *COLD)
    assert workshop.maker() == "builder"


def test_events_that_came_before_the_upload_tell_it_too(workshop: Workshop) -> None:
    workshop.events(0, "builder", *COLD)
    workshop.upload(50)
    assert workshop.maker() == "builder"


def test_of_two_runs_that_missed_it_the_nearer_to_the_upload_made_it(workshop: Workshop) -> None:
    workshop.events(0, "long before", *COLD)
    workshop.upload(5)
    workshop.events(6, "builder", *COLD)
    workshop.events(20, "long after", *COLD)
    assert workshop.maker() == "builder"


def test_who_found_it_in_the_remote_cache_did_not_make_it(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(1, "user", LOCAL_MISS, REMOTE_HIT)
    assert workshop.maker() is None
    workshop.events(9, "builder", *COLD)
    assert workshop.maker() == "builder"


def test_a_hit_in_a_batch_of_its_own_is_remembered_all_the_same(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(1, "user", LOCAL_MISS)
    workshop.events(2, "user", REMOTE_HIT)
    assert workshop.maker() is None


def test_who_finds_what_it_made_has_made_it_still(workshop: Workshop) -> None:
    workshop.events(0, "watcher", *COLD)
    workshop.upload(1)
    workshop.events(2, "watcher", LOCAL_HIT)
    assert workshop.maker() == "watcher"


def test_a_run_whose_look_into_the_remote_cache_failed_can_have_made_it(
    workshop: Workshop,
) -> None:
    workshop.upload(0)
    workshop.events(1, "builder", LOCAL_MISS)
    assert workshop.maker() == "builder"


def test_who_only_has_it_locally_did_not_make_it(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(1, "user", LOCAL_HIT)
    assert workshop.maker() is None


def test_another_token_or_team_or_hash_did_not_make_it(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(1, "with another token", *COLD, token=USER_TOKEN)
    workshop.events(1, "in another team", *COLD, team=OTHER_TEAM_ID)
    workshop.events(1, "of another hash", *COLD, name=NAME.upper())
    assert workshop.maker() is None


@pytest.mark.parametrize("name", ["f" * 64, "0x12", "ffffffffffffffff", "12HKQaOmR5t5Uy6vdcQs"])
def test_hashes_of_any_form_have_makers(workshop: Workshop, name: str) -> None:
    workshop.upload(0, name=name)
    workshop.events(1, "builder", *COLD, name=name)
    assert workshop.maker(name) == "builder"


def test_each_team_has_its_own_maker_of_the_same_hash(workshop: Workshop) -> None:
    for team in (TEAM_ID, OTHER_TEAM_ID):
        workshop.upload(0, team=team)
        workshop.events(1, f"builder of {team}", *COLD, team=team)
    assert workshop.maker() == f"builder of {TEAM_ID}"
    assert workshop.maker(team=OTHER_TEAM_ID) == f"builder of {OTHER_TEAM_ID}"


def test_a_replaced_artifact_has_another_maker(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(1, "first", *COLD)
    assert workshop.maker() == "first"
    workshop.upload(10)
    workshop.events(11, "second", *COLD)
    assert workshop.maker() == "second"


def test_one_that_is_replaced_during_the_look_does_not_get_the_maker_of_the_old_one(
    workshop: Workshop,
) -> None:
    workshop.upload(0)
    [seen] = workshop.analytics.catalog.unattributed(0, 10)
    workshop.upload(1)
    workshop.analytics.catalog.set_producers([(seen, "of the old one")])
    [stored] = workshop.analytics.catalog.find_many(TEAM_ID, [NAME]).values()
    assert stored.producer is None


def test_an_artifact_that_no_events_tell_of_has_no_maker_and_holds_nobody_up(
    workshop: Workshop,
) -> None:
    workshop.upload(0, name="untold")
    workshop.upload(1)
    workshop.events(2, "builder", *COLD)
    assert workshop.maker() == "builder"
    assert workshop.maker("untold") is None


def test_old_uploads_are_not_looked_at_any_more(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.events(LOOKBACK_MS / MINUTE_MS + 1, "builder", *COLD)
    assert workshop.maker() is None


def test_it_looks_once_a_second_and_says_whether_it_did(workshop: Workshop) -> None:
    assert workshop.makers.run()
    assert not workshop.makers.run()
    assert workshop.makers.run(force=True)


def test_a_database_that_is_away_stops_nothing_and_is_asked_again(workshop: Workshop) -> None:
    class Away(ArtifactCatalog):
        def unattributed(self, since_ms: int, limit: int) -> list[UnattributedArtifact]:
            raise DatabaseError(f"away: {since_ms}, {limit}")

    makers = ArtifactAttribution(
        workshop.event_store.duckdb, Away(workshop.analytics.engine), workshop.clock
    )
    assert not makers.run(force=True)


def test_an_event_store_that_is_away_is_told_of(workshop: Workshop) -> None:
    workshop.upload(0)
    workshop.event_store.duckdb.close()
    with pytest.raises(EventStoreUnavailable):
        workshop.makers.run(force=True)
