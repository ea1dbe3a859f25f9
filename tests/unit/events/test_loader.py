"""The loader: from closed segments to the store, whatever stands in the way."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.errors import DatabaseError, EventStoreUnavailable
from hitrate.events.loader import Loader
from hitrate.events.models import EventFilter, LoadObserver
from hitrate.events.quarantine import Quarantine
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.events.traffic import TransferCounter, Transfers
from hitrate.metrics import Metrics
from tests.support.event_factory import event, line
from tests.support.server import eventually


class Pipeline:
    """Spool, loader and store on one folder; steps are taken by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "spool"
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.spool = Spool(self.folder, self.clock)
        self.store = DuckDBEventStore(folder, 1_000_000, self._durations)
        self.transfers = TransferCounter(self.clock)
        self.artifacts_away = False
        self.loader = self.new_loader()
        self.spool.open()

    def new_loader(self, *observers: LoadObserver) -> Loader:
        return Loader(
            self.spool,
            self.store,
            Quarantine(self.folder / "quarantine"),
            self.metrics,
            self.clock,
            traffic=self.transfers,
            observers=observers,
        )

    def append(self, *lines: bytes) -> None:
        async def run() -> None:
            await asyncio.gather(*(self.spool.append(one) for one in lines))

        asyncio.run(run())

    def trouble(self) -> str | None:
        return self.loader.last_error

    def hashes(self) -> list[str]:
        return [r.hash for r in self.store.events(EventFilter("team_a", limit=1000))]

    def moved(self) -> tuple[int, int]:
        """Uploads that were written down, and their bytes."""
        with self.store.cursor() as cursor:
            query = "SELECT sum(uploads), sum(uploaded_bytes) FROM transfers"
            [(uploads, size)] = cursor.execute(query).fetchall()
        return uploads, size

    def _durations(self, _team_id: str, _names: Sequence[str]) -> Mapping[str, float]:
        if self.artifacts_away:
            raise DatabaseError("away")
        return {}


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    pipeline = Pipeline(tmp_path)
    yield pipeline
    pipeline.spool.close()
    pipeline.store.close()


def test_what_was_spooled_is_loaded_and_the_segment_goes(pipeline: Pipeline) -> None:
    pipeline.append(line([event(hash="a")]), line([event(hash="b")]))
    assert pipeline.loader.run_once()
    assert sorted(pipeline.hashes()) == ["a", "b"]
    assert pipeline.spool.stats() == (0, 0, 0.0)
    assert pipeline.metrics.counters["hitrate_events_loaded"] == 2


def test_a_segment_that_was_loaded_but_not_removed_is_not_loaded_again(
    pipeline: Pipeline,
) -> None:
    pipeline.append(line())
    pipeline.spool.rotate()
    [segment] = pipeline.spool.closed()
    content = segment.read_bytes()
    pipeline.loader.run_once()
    segment.write_bytes(content)  # as after a crash between the commit and the removal
    pipeline.loader.run_once()
    assert len(pipeline.hashes()) == 1
    assert not segment.exists()


def test_while_the_store_is_away_segments_gather_and_loading_goes_on_by_itself(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (DataDir(tmp_path).event_store).write_bytes(b"garbage" * 1000)
    pipeline.append(line())
    assert not pipeline.loader.run_once()
    assert pipeline.trouble()
    pipeline.append(line())
    (DataDir(tmp_path).event_store).unlink()
    assert pipeline.loader.run_once()
    assert not pipeline.trouble()
    assert len(pipeline.hashes()) == 2


@pytest.mark.parametrize(
    "poison",
    [
        b"garbage\n",
        b'{"team": "team_a", "receivedAt": "x"}\n',
        b'{"team":"team_a","events":[7]}\n',
        line([event()]).replace(b"LOCAL", b"CLOUD"),
    ],
    ids=["no JSON", "no moment", "no event", "no such source"],
)
def test_a_poisoned_batch_is_set_aside_with_its_reason_and_the_rest_flows_on(
    pipeline: Pipeline, poison: bytes
) -> None:
    pipeline.append(line([event(hash="a")]), poison, line([event(hash="b")]))
    pipeline.append(line([event(hash="c")]))
    assert pipeline.loader.run_once()
    assert sorted(pipeline.hashes()) == ["a", "b", "c"]
    [aside] = (pipeline.folder / "quarantine").glob("*.ndjson")
    assert aside.read_bytes() == poison
    assert aside.with_suffix(".reason.txt").read_text().strip()
    assert pipeline.spool.stats()[0] == 0


def test_a_mended_batch_that_is_moved_back_is_loaded(pipeline: Pipeline) -> None:
    pipeline.append(b"garbage\n")
    pipeline.loader.run_once()
    [aside] = (pipeline.folder / "quarantine").glob("*.ndjson")
    aside.write_bytes(line([event(hash="mended")]))
    aside.rename(pipeline.folder / aside.name)
    pipeline.loader.run_once()
    assert pipeline.hashes() == ["mended"]


def test_while_artifacts_cannot_be_asked_nothing_is_lost(pipeline: Pipeline) -> None:
    pipeline.artifacts_away = True
    pipeline.append(line([event(hash="a")]), line([event(source="REMOTE", duration=0)]))
    for _ in range(2):
        assert not pipeline.loader.run_once()
        assert pipeline.hashes() == []
    assert pipeline.trouble() == "away"
    pipeline.artifacts_away = False
    assert pipeline.loader.run_once()
    assert len(pipeline.hashes()) == 2
    assert pipeline.metrics.counters["hitrate_events_loaded"] == 2
    assert pipeline.metrics.counters["hitrate_event_load_failures"] == 2


def test_what_waits_is_still_known_to_have_come_before(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitrate.events.loader.PRUNE_INTERVAL_S", -1.0)
    batch, now_ms = [event()], pipeline.clock.now_ms()
    pipeline.append(line(batch, received_at=now_ms))
    pipeline.loader.run_once()
    pipeline.append(line(batch, received_at=now_ms + 540_000))
    pipeline.clock.advance(3600)  # so long was the store away
    pipeline.loader.run_once(deadline=0)  # there was no time for loading
    pipeline.loader.run_once()
    assert len(pipeline.hashes()) == 1


def test_transfers_that_cannot_be_written_down_are_kept(pipeline: Pipeline, tmp_path: Path) -> None:
    (DataDir(tmp_path).event_store).write_bytes(b"garbage" * 1000)
    pipeline.transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    assert not pipeline.loader.run_once()
    pipeline.transfers.uploaded("team_a", "tok_a", (None, None, None), 7)
    (DataDir(tmp_path).event_store).unlink()
    assert pipeline.loader.run_once()
    assert pipeline.moved() == (2, 17)
    assert pipeline.loader.run_once()
    assert pipeline.moved() == (2, 17)


def test_transfers_are_put_back_when_the_store_fails_at_them(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_transfers: Transfers) -> None:
        raise EventStoreUnavailable("full")

    pipeline.transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.store, "add_transfers", fail)
        assert not pipeline.loader.run_once()
    assert pipeline.loader.run_once()
    assert pipeline.moved() == (1, 10)


def test_catching_up_waits_for_all_that_was_acknowledged(pipeline: Pipeline) -> None:
    pipeline.loader.open()
    for number in range(5):
        pipeline.append(line([event(hash=f"{number}")]))
        assert pipeline.loader.catch_up(30)
        assert len(pipeline.hashes()) == number + 1
    pipeline.loader.close()


def test_a_step_that_had_begun_before_is_not_waited_for_alone(pipeline: Pipeline) -> None:
    begun, go = threading.Event(), threading.Event()

    class Hold(LoadObserver):
        def on_loaded(self) -> bool:
            begun.set()
            return go.wait(30)

    loader = pipeline.new_loader(Hold())
    loader.open()
    assert begun.wait(30)  # this step saw an empty spool
    pipeline.append(line([event(hash="late")]))
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(loader.catch_up, 30)
        eventually(loader._thread._wake.is_set)  # it waits
        go.set()
        assert caught_up.result()
    assert pipeline.hashes() == ["late"]
    loader.close()


def test_catching_up_gives_up_when_the_store_stays_away(pipeline: Pipeline, tmp_path: Path) -> None:
    (DataDir(tmp_path).event_store).write_bytes(b"garbage" * 1000)
    pipeline.append(line())
    pipeline.loader.open()
    assert not pipeline.loader.catch_up(0.1)
    (DataDir(tmp_path).event_store).unlink()
    assert eventually(lambda: pipeline.loader.catch_up(30))
    assert len(pipeline.hashes()) == 1
    pipeline.loader.close()
