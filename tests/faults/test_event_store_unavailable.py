"""The event store locked, damaged or poisoned: clients do not notice, and nothing is lost."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.load_generator import ExpectedState
from tests.support.raw_http import RawHttpClient
from tests.support.server import Server, eventually, try_hitrate

SEED = 20261124

_LOCK = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Another process holds the event store for the length of a `with`."""
    command = [sys.executable, "-c", _LOCK, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield


class Bench:
    """A server, a ledger of what was sent to it, and the doctor's view."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ledger = ExpectedState()
        self.store = server.data_dir / "events.duckdb"
        self.spool = server.data_dir / "spool"
        self._dice = random.Random(SEED)
        self._template: dict[str, Any] = {}

    def record(self, count: int = 20) -> None:
        """Send batches; each must be acknowledged."""
        with RawHttpClient(self.server) as client:
            for _ in range(count):
                batch = self.ledger.new_batch(self._dice)
                assert client.post_events(batch.body).status == 200
                batch.acknowledged = True

    def reads(self) -> int:
        """The status of reading events."""
        with RawHttpClient(self.server) as client:
            return client.request("GET", "/v1/events").status

    def assert_recorded(self) -> None:
        """All of it, each event once."""
        with RawHttpClient(self.server) as client:
            eventually(lambda: client.pending_segments() == 0)
            count = self.ledger.count_events(client.events())
        count.assert_exact()
        assert count.recorded == count.acknowledged, count

    def doctor(self) -> tuple[int, str]:
        """Exit code and what it says."""
        folder, port = str(self.server.data_dir), str(self.server.port)
        done = try_hitrate("doctor", "--data-dir", folder, "--port", port)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    def set_down(self, number: int, *lines: bytes) -> Path:
        """Put a segment into the spool as a server that was killed would leave it."""
        segment = self.spool / f"{1_700_000_000_000 + number:013d}-00000000.ndjson"
        segment.write_bytes(b"".join(lines))
        return segment

    def line(self, **changed: Any) -> bytes:
        """A line of a segment, its events in the ledger unless it is changed for the worse."""
        batch = self.ledger.new_batch(self._dice)
        batch.acknowledged = not changed
        line = {**self._template, "digest": f"{len(self.ledger.batches):032x}"}
        line |= {"events": json.loads(batch.body)} | changed
        return json.dumps(line).encode() + b"\n"

    def keep_a_written_line(self) -> None:
        """Learn from the server itself how a line looks; the server is killed for it."""
        with locked(self.store):
            self.server.start()
            self.record(1)
            [segment] = self.spool.glob("*.ndjson")
            self._template = json.loads(segment.read_bytes())
            self.server.kill()


@pytest.fixture
def bench(server: Server) -> Bench:
    bench = Bench(server)
    bench.record()
    bench.assert_recorded()
    assert server.stop() == 0
    return bench


def test_a_locked_store_delays_nobody_and_loading_goes_on_when_it_is_released(
    bench: Bench,
) -> None:
    with locked(bench.store):
        bench.server.start()
        for _ in range(3):
            bench.record()
            assert bench.reads() == 503
        code, said = bench.doctor()
        assert code == 1
        assert "event store cannot be used" in said
        assert "nothing is lost" in said
        assert "End the process that locks it" in said
        assert bench.server.metric("hitrate_event_store_up") == 0
    eventually(lambda: bench.reads() == 200)
    bench.record()
    bench.assert_recorded()
    assert bench.doctor()[0] == 0
    assert bench.server.metric("hitrate_event_store_up") == 1


def test_a_server_that_is_stopped_while_the_store_is_locked_keeps_the_events_in_the_spool(
    bench: Bench,
) -> None:
    with locked(bench.store):
        bench.server.start()
        bench.record()
        assert bench.server.stop() == 0
        assert list(bench.spool.glob("*.ndjson"))
        code, said = bench.doctor()
        assert code == 1
        assert "event store cannot be opened" in said
    assert bench.doctor()[0] == 0
    bench.server.start()
    bench.assert_recorded()


@pytest.mark.parametrize("kept", [0, 4096])
def test_a_damaged_store_delays_nobody_and_loading_goes_on_when_it_is_moved_away(
    bench: Bench, kept: int
) -> None:
    whole = bench.store.read_bytes()
    bench.store.write_bytes(whole[:kept] + b"garbage " * (len(whole) // 8))
    bench.ledger = ExpectedState()
    bench.server.start()
    bench.record()
    assert bench.reads() == 503
    code, said = bench.doctor()
    assert code == 1
    assert "event store cannot be used" in said
    assert "move a damaged file away" in said

    bench.store.rename(bench.store.with_suffix(".damaged"))
    bench.record()
    bench.assert_recorded()
    assert bench.doctor()[0] == 0


def test_a_store_damaged_by_a_crash_may_leave_its_log_behind_without_harm(bench: Bench) -> None:
    bench.server.start()
    eventually(lambda: bench.reads() == 200)
    bench.record()
    with RawHttpClient(bench.server) as client:
        eventually(lambda: client.pending_segments() == 0)
    bench.server.kill()
    assert bench.store.with_suffix(".duckdb.wal").exists()
    bench.store.rename(bench.store.with_suffix(".damaged"))
    bench.ledger = ExpectedState()
    bench.server.start()
    bench.record()
    eventually(lambda: bench.reads() == 200)
    with RawHttpClient(bench.server) as client:
        eventually(lambda: client.pending_segments() == 0)
        events = client.events()
    known = {key for batch in bench.ledger.batches for key in batch.keys}
    assert sum((event["sessionId"], event["hash"]) in known for event in events) == len(known)


UNREADABLE: list[bytes | dict[str, Any]] = [
    b"garbage\n",
    b"\x00\xff\xfe\x00\n",
    b'{"a": 1} {"b": 2}\n',
    b"[1, 2]\n",
    {"receivedAt": "x"},
    {"events": "x"},
    {"events": ["x"]},
]
INCOMPLETE: list[bytes | dict[str, Any]] = [
    b"{}\n",
    b"null\n",
    {"team": None},
    {"receivedAt": None},
    {"events": [{}]},
    {"events": [{"sessionId": "s", "source": "LOCAL", "event": "HIT"}]},
]


@pytest.mark.parametrize("bad", [UNREADABLE, INCOMPLETE], ids=["unreadable", "incomplete"])
def test_bad_batches_are_set_aside_with_a_reason_and_the_good_ones_beside_them_are_loaded(
    bench: Bench, bad: list[bytes | dict[str, Any]]
) -> None:
    bench.keep_a_written_line()
    bad_lines = [line if isinstance(line, bytes) else bench.line(**line) for line in bad]
    for number, bad_line in enumerate(bad_lines):
        bench.set_down(2 * number, bench.line(), bench.line())
        bench.set_down(2 * number + 1, bench.line(), bad_line, bench.line())
    bench.server.start()
    bench.assert_recorded()

    aside = sorted((bench.spool / "quarantine").glob("*.ndjson"))
    assert [path.read_bytes() for path in aside] == bad_lines
    code, said = bench.doctor()
    assert code == 0  # worth a look, and the server is well
    for path in aside:
        assert path.with_suffix(".reason.txt").read_text().strip()
        assert path.name in said
    assert "Repair the .ndjson file and move it one directory up" in said


def test_a_rejected_batch_that_was_mended_and_moved_back_is_loaded(bench: Bench) -> None:
    bench.keep_a_written_line()
    good = bench.line()
    bench.set_down(1, good.replace(b'"receivedAt": 1', b'"receivedAt": "x1'), bench.line())
    bench.server.start()
    aside = eventually(lambda: list((bench.spool / "quarantine").glob("*.ndjson")))[0]
    aside.write_bytes(good)
    aside.rename(bench.spool / aside.name)
    aside.with_suffix(".reason.txt").unlink()
    bench.assert_recorded()


def test_a_torn_last_line_is_cut_off_and_the_whole_ones_before_it_are_loaded(
    bench: Bench,
) -> None:
    bench.keep_a_written_line()
    torn = bench.line(ci="torn off")
    bench.set_down(1, bench.line(), bench.line(), torn[: len(torn) // 2])
    bench.set_down(2, torn[:1])
    bench.server.start()
    bench.assert_recorded()
    assert bench.server.log.count("torn line truncated") == 2
    assert not (bench.spool / "quarantine").exists()
    assert bench.doctor()[0] == 0
