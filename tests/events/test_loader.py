"""The loader: from closed segments to the store, whatever stands in the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.clock import ManualClock
from hitrate.events.duckdb import FILE_NAME, DuckDBEventStore
from hitrate.events.loader import Loader
from hitrate.events.spool import Spool
from hitrate.events.store import EventFilter
from hitrate.metrics import Metrics
from tests.events.factory import event, line


class Pipeline:
    """Spool, loader and store on one folder; steps are taken by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "spool"
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.spool = Spool(self.folder, self.clock)
        self.store = DuckDBEventStore(folder, 1_000_000)
        self.loader = Loader(self.spool, self.folder, self.store, self.metrics, self.clock)
        self.spool.open()

    def append(self, *lines: bytes) -> None:
        async def run() -> None:
            await asyncio.gather(*(self.spool.append(one) for one in lines))

        asyncio.run(run())

    def trouble(self) -> str | None:
        return self.loader.trouble

    def hashes(self) -> list[str]:
        return [r.hash for r in self.store.events(EventFilter("team_a", limit=1000))]


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    pipeline = Pipeline(tmp_path)
    yield pipeline
    pipeline.spool.close()
    pipeline.store.close()


def test_what_was_spooled_is_loaded_and_the_segment_goes(pipeline: Pipeline) -> None:
    pipeline.append(line([event(hash="a")]), line([event(hash="b")]))
    assert pipeline.loader.step()
    assert sorted(pipeline.hashes()) == ["a", "b"]
    assert pipeline.spool.depth() == (0, 0, 0.0)
    assert pipeline.metrics.counters["hitrate_events_loaded"] == 2


def test_a_segment_that_was_loaded_but_not_removed_is_not_loaded_again(
    pipeline: Pipeline,
) -> None:
    pipeline.append(line())
    pipeline.spool.rotate()
    [segment] = pipeline.spool.closed()
    content = segment.read_bytes()
    pipeline.loader.step()
    segment.write_bytes(content)  # as after a crash between the commit and the removal
    pipeline.loader.step()
    assert len(pipeline.hashes()) == 1
    assert not segment.exists()


def test_while_the_store_is_away_segments_gather_and_loading_goes_on_by_itself(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"garbage" * 1000)
    pipeline.append(line())
    assert not pipeline.loader.step()
    assert pipeline.trouble()
    pipeline.append(line())
    (tmp_path / FILE_NAME).unlink()
    assert pipeline.loader.step()
    assert not pipeline.trouble()
    assert len(pipeline.hashes()) == 2


@pytest.mark.parametrize(
    "poison",
    [b"garbage\n", b'{"team": "team_a", "receivedAt": "x"}\n', b'{"team":"team_a","events":[7]}\n'],
)
def test_a_poisoned_batch_is_set_aside_with_its_reason_and_the_rest_flows_on(
    pipeline: Pipeline, poison: bytes
) -> None:
    pipeline.append(line([event(hash="a")]), poison, line([event(hash="b")]))
    pipeline.append(line([event(hash="c")]))
    assert pipeline.loader.step()
    assert sorted(pipeline.hashes()) == ["a", "b", "c"]
    [aside] = (pipeline.folder / "rejected").glob("*.ndjson")
    assert aside.read_bytes() == poison
    assert aside.with_suffix(".reason.txt").read_text().strip()
    assert pipeline.spool.depth()[0] == 0


def test_a_mended_batch_that_is_moved_back_is_loaded(pipeline: Pipeline) -> None:
    pipeline.append(b"garbage\n")
    pipeline.loader.step()
    [aside] = (pipeline.folder / "rejected").glob("*.ndjson")
    aside.write_bytes(line([event(hash="mended")]))
    aside.rename(pipeline.folder / aside.name)
    pipeline.loader.step()
    assert pipeline.hashes() == ["mended"]
