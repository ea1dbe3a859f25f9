"""Loader: closed segments reach the event store, whatever fails on the way."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.errors import DatabaseError, EventStoreUnavailable
from hitrate.events.loader import Loader
from hitrate.events.models import DuplicateBatch, EventFilter, LoadObserver, SpooledBatch
from hitrate.events.quarantine import Quarantine
from hitrate.events.spool import Spool, SpoolPosition
from hitrate.events.store import DuckDBEventStore
from hitrate.events.transfers import TransferCounter, Transfers
from hitrate.metrics import Metrics
from tests.support.event_factory import event, line
from tests.support.server import eventually


class LoaderHarness:
    """Spool, loader and event store in one directory. Tests call `run_once`."""

    def __init__(self, data_dir: Path) -> None:
        self.spool_dir = data_dir / "spool"
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.spool = Spool(self.spool_dir, self.clock)
        self.store = DuckDBEventStore(data_dir, 1_000_000, self._durations)
        self.transfers = TransferCounter(self.clock)
        self.artifacts_unavailable = False
        self.loader = self.new_loader()
        self.spool.open()

    def new_loader(self, *observers: LoadObserver) -> Loader:
        return Loader(
            self.spool,
            self.store,
            Quarantine(self.spool_dir / "quarantine"),
            self.metrics,
            self.clock,
            transfers=self.transfers,
            observers=observers,
        )

    def append(self, *lines: bytes) -> None:
        async def run() -> None:
            await asyncio.gather(*(self.spool.append(one) for one in lines))

        asyncio.run(run())

    def last_error(self) -> str | None:
        return self.loader.last_error

    def hashes(self) -> list[str]:
        return [r.hash for r in self.store.events(EventFilter("team_a", limit=1000))]

    def stored_uploads(self) -> tuple[int, int]:
        """Return the number of uploads in the event store, and their bytes."""
        with self.store.cursor() as cursor:
            query = "SELECT sum(uploads), sum(uploaded_bytes) FROM transfers"
            [(uploads, size)] = cursor.execute(query).fetchall()
        return uploads, size

    def _durations(self, _team_id: str, _names: Sequence[str]) -> Mapping[str, float]:
        if self.artifacts_unavailable:
            raise DatabaseError("unavailable")
        return {}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[LoaderHarness]:
    harness = LoaderHarness(tmp_path)
    yield harness
    harness.spool.close()
    harness.store.close()


def test_loader_loads_spooled_events_and_removes_the_segment(harness: LoaderHarness) -> None:
    harness.append(line([event(hash="a")]), line([event(hash="b")]))
    assert harness.loader.run_once()
    assert sorted(harness.hashes()) == ["a", "b"]
    assert harness.spool.stats() == (0, 0, 0.0)
    assert harness.metrics.counters["hitrate_events_loaded"] == 2


def test_segment_left_by_a_crash_after_commit_is_removed_but_not_loaded_again(
    harness: LoaderHarness,
) -> None:
    harness.append(line())
    harness.spool.rotate()
    [segment] = harness.spool.closed()
    content = segment.read_bytes()
    harness.loader.run_once()
    segment.write_bytes(content)  # a crash between commit and removal
    harness.loader.run_once()
    assert len(harness.hashes()) == 1
    assert not segment.exists()


def test_segments_accumulate_while_the_store_is_unavailable_and_are_loaded_later(
    harness: LoaderHarness, tmp_path: Path
) -> None:
    DataDir(tmp_path).event_store.write_bytes(b"garbage" * 1000)
    harness.append(line())
    assert not harness.loader.run_once()
    assert harness.last_error()
    harness.append(line())
    DataDir(tmp_path).event_store.unlink()
    assert harness.loader.run_once()
    assert not harness.last_error()
    assert len(harness.hashes()) == 2


@pytest.mark.parametrize(
    "invalid_line",
    [
        b"garbage\n",
        b'{"team": "team_a", "receivedAt": "x"}\n',
        b'{"team":"team_a","events":[7]}\n',
        line([event()]).replace(b"LOCAL", b"CLOUD"),
    ],
    ids=["not JSON", "invalid time", "invalid event", "unknown source"],
)
def test_invalid_batch_is_quarantined_with_its_reason_and_the_rest_is_loaded(
    harness: LoaderHarness, invalid_line: bytes
) -> None:
    harness.append(line([event(hash="a")]), invalid_line, line([event(hash="b")]))
    harness.append(line([event(hash="c")]))
    assert harness.loader.run_once()
    assert sorted(harness.hashes()) == ["a", "b", "c"]
    [quarantined] = (harness.spool_dir / "quarantine").glob("*.ndjson")
    assert quarantined.read_bytes() == invalid_line
    reason = quarantined.with_suffix(".reason.txt").read_text()
    assert reason.strip()
    for part in ("/", ".ndjson", " in line ", "Try setting"):
        assert part not in reason
    assert harness.spool.stats().segments == 0


def test_repaired_batch_is_loaded_when_moved_back_to_the_spool(harness: LoaderHarness) -> None:
    harness.append(b"garbage\n")
    harness.loader.run_once()
    [quarantined] = (harness.spool_dir / "quarantine").glob("*.ndjson")
    quarantined.write_bytes(line([event(hash="repaired")]))
    quarantined.rename(harness.spool_dir / quarantined.name)
    harness.loader.run_once()
    assert harness.hashes() == ["repaired"]


def test_segments_wait_while_artifact_durations_are_unavailable(harness: LoaderHarness) -> None:
    harness.artifacts_unavailable = True
    harness.append(line([event(hash="a")]), line([event(source="REMOTE", duration=0)]))
    for _ in range(2):
        assert not harness.loader.run_once()
        assert harness.hashes() == []
    assert harness.last_error() == "unavailable"
    harness.artifacts_unavailable = False
    assert harness.loader.run_once()
    assert len(harness.hashes()) == 2
    assert harness.metrics.counters["hitrate_events_loaded"] == 2
    assert harness.metrics.counters["hitrate_event_load_failures"] == 2


def test_prune_waits_until_spooled_duplicates_are_loaded(
    harness: LoaderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitrate.events.loader.PRUNE_INTERVAL_S", -1.0)
    batch, now_ms = [event()], harness.clock.now_ms()
    harness.append(line(batch, received_at=now_ms))
    harness.loader.run_once()
    harness.append(line(batch, received_at=now_ms + 540_000))
    harness.clock.advance(3600)  # the store was unavailable for an hour
    harness.loader.run_once(deadline=0)  # no time to load
    harness.loader.run_once()
    assert len(harness.hashes()) == 1


def test_transfers_are_kept_while_the_store_is_unavailable(
    harness: LoaderHarness, tmp_path: Path
) -> None:
    DataDir(tmp_path).event_store.write_bytes(b"garbage" * 1000)
    harness.transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    assert not harness.loader.run_once()
    harness.transfers.uploaded("team_a", "tok_a", (None, None, None), 7)
    DataDir(tmp_path).event_store.unlink()
    assert harness.loader.run_once()
    assert harness.stored_uploads() == (2, 17)
    assert harness.loader.run_once()
    assert harness.stored_uploads() == (2, 17)


def test_transfers_are_restored_when_storing_them_fails(
    harness: LoaderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_transfers: Transfers) -> None:
        raise EventStoreUnavailable("full")

    harness.transfers.uploaded("team_a", "tok_a", (None, None, None), 10)
    with monkeypatch.context() as patched:
        patched.setattr(harness.store, "add_transfers", fail)
        assert not harness.loader.run_once()
    assert harness.loader.run_once()
    assert harness.stored_uploads() == (1, 10)


def test_catch_up_waits_for_all_acknowledged_events(harness: LoaderHarness) -> None:
    harness.loader.open()
    for number in range(5):
        harness.append(line([event(hash=f"{number}")]))
        assert harness.loader.catch_up(30)
        assert len(harness.hashes()) == number + 1
    harness.loader.close()


def test_catch_up_does_not_return_after_a_pass_that_had_already_started(
    harness: LoaderHarness,
) -> None:
    first_pass, release = threading.Event(), threading.Event()

    class BlockingObserver(LoadObserver):
        def on_loaded(self) -> bool:
            first_pass.set()
            return release.wait(30)

    loader = harness.new_loader(BlockingObserver())
    loader.open()
    assert first_pass.wait(30)  # this pass found an empty spool
    harness.append(line([event(hash="late")]))
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(loader.catch_up, 30)
        eventually(loader._thread._wake.is_set)  # catch_up waits
        release.set()
        assert caught_up.result()
    assert harness.hashes() == ["late"]
    loader.close()


def test_catch_up_returns_false_while_the_store_is_unavailable(
    harness: LoaderHarness, tmp_path: Path
) -> None:
    DataDir(tmp_path).event_store.write_bytes(b"garbage" * 1000)
    harness.append(line())
    harness.loader.open()
    assert not harness.loader.catch_up(0.1)
    DataDir(tmp_path).event_store.unlink()
    assert eventually(lambda: harness.loader.catch_up(30))
    assert len(harness.hashes()) == 1
    harness.loader.close()


# Observers


class RecordingObserver(LoadObserver):
    """Records its notifications. `processed` is the position up to which it is ready."""

    def __init__(self, processed: SpoolPosition = ("", 0)) -> None:
        self.processed = processed
        self.recovered: list[SpooledBatch] = []
        self.duplicates: list[tuple[DuplicateBatch, str]] = []
        self.notifications = 0
        self.succeeds = True

    def recover(self, batches_after: Callable[[SpoolPosition], Iterator[SpooledBatch]]) -> None:
        self.recovered += batches_after(self.processed)

    def is_ready(self, position: SpoolPosition) -> bool:
        return self.processed >= position

    def on_duplicates(self, batch: DuplicateBatch, segment: str) -> None:
        self.duplicates.append((batch, segment))

    def on_loaded(self) -> bool:
        self.notifications += 1
        return self.succeeds


AFTER_ALL: SpoolPosition = ("9", 0)


def test_observer_recovers_the_valid_batches_behind_its_position(harness: LoaderHarness) -> None:
    first, last = line([event()]), line([event(), event()], team="team_b", received_at=7)
    harness.append(first, b"garbage\n", last)
    harness.spool.rotate()
    [segment] = harness.spool.closed()
    observer = RecordingObserver((segment.name, len(first)))
    loader = harness.new_loader(observer)
    loader.open()
    assert observer.recovered == [
        SpooledBatch("team_b", 7, 2, (segment.name, segment_size(first, b"garbage\n", last)))
    ]
    loader.close()


def segment_size(*lines: bytes) -> int:
    return len(b"".join(lines))


def test_segment_waits_until_its_observer_is_ready(harness: LoaderHarness) -> None:
    observer = RecordingObserver()
    loader = harness.new_loader(observer)
    harness.append(line())
    assert loader.run_once()
    assert harness.hashes() == []
    [segment] = harness.spool.closed()
    observer.processed = (segment.name, segment.stat().st_size)
    assert loader.run_once()
    assert len(harness.hashes()) == 1


def test_segment_is_loaded_after_a_timeout_if_its_observer_is_not_ready(
    harness: LoaderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hitrate.events.loader.OBSERVER_TIMEOUT_S", -1.0)
    loader = harness.new_loader(RecordingObserver())
    harness.append(line())
    assert loader.run_once()
    assert len(harness.hashes()) == 1


def test_all_observers_receive_duplicates_with_their_segment(harness: LoaderHarness) -> None:
    observers = [RecordingObserver(AFTER_ALL), RecordingObserver(AFTER_ALL)]
    batch = line([event(), event()])
    harness.append(batch, batch)
    harness.spool.rotate()
    [segment] = harness.spool.closed()
    assert harness.new_loader(*observers).run_once()
    duplicate = DuplicateBatch("team_a", 1_800_000_000_000, 2)
    assert [observer.duplicates for observer in observers] == [[(duplicate, segment.name)]] * 2


def test_only_the_observer_that_failed_is_notified_again(harness: LoaderHarness) -> None:
    failing, succeeding = RecordingObserver(AFTER_ALL), RecordingObserver(AFTER_ALL)
    failing.succeeds = False
    loader = harness.new_loader(failing, succeeding)
    for _ in range(2):
        assert loader.run_once()
    assert (failing.notifications, succeeding.notifications) == (2, 1)
    failing.succeeds = True
    for _ in range(2):
        assert loader.run_once()
    assert (failing.notifications, succeeding.notifications) == (3, 1)
    harness.append(line())
    assert loader.run_once()
    assert (failing.notifications, succeeding.notifications) == (4, 2)
