"""Event store locked, damaged or fed invalid batches: clients do not notice, no event is lost."""

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
    """Lock the event store from another process."""
    command = [sys.executable, "-c", _LOCK, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield


class EventStoreFaultHarness:
    """A server, the events that were sent to it, and `hitrate doctor`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.expected_state = ExpectedState()
        self.store = server.data_dir / "events.duckdb"
        self.spool = server.data_dir / "spool"
        self._rng = random.Random(SEED)
        self._template: dict[str, Any] = {}

    def record(self, count: int = 20) -> None:
        """Send batches, and check that each is acknowledged."""
        with RawHttpClient(self.server) as client:
            for _ in range(count):
                batch = self.expected_state.new_batch(self._rng)
                assert client.post_events(batch.body).status == 200
                batch.acknowledged = True

    def read_status(self) -> int:
        """Return the HTTP status of listing events."""
        with RawHttpClient(self.server) as client:
            return client.request("GET", "/v1/events").status

    def assert_recorded(self) -> None:
        """Wait for the loader, and check that each acknowledged event is recorded once."""
        with RawHttpClient(self.server) as client:
            eventually(lambda: client.pending_segments() == 0)
            count = self.expected_state.count_events(client.events())
        count.assert_exact()
        assert count.recorded == count.acknowledged, count

    def doctor(self) -> tuple[int, str]:
        """Run `hitrate doctor`. Return its exit code and output."""
        data_dir, port = str(self.server.data_dir), str(self.server.port)
        result = try_hitrate("doctor", "--data-dir", data_dir, "--port", port)
        assert "Traceback" not in result.stderr
        return result.returncode, result.stdout

    def write_segment(self, number: int, *lines: bytes) -> Path:
        """Write a segment into the spool, as a killed server leaves it."""
        segment = self.spool / f"{1_700_000_000_000 + number:013d}-00000000.ndjson"
        segment.write_bytes(b"".join(lines))
        return segment

    def line(self, **changes: Any) -> bytes:
        """Create a line of a segment. Its events are expected unless `changes` make it invalid."""
        batch = self.expected_state.new_batch(self._rng)
        batch.acknowledged = not changes
        line = {**self._template, "digest": f"{len(self.expected_state.batches):032x}"}
        line |= {"events": json.loads(batch.body)} | changes
        return json.dumps(line).encode() + b"\n"

    def capture_spool_line(self) -> None:
        """Save a line that the server wrote, as a template. Kills the server."""
        with locked(self.store):
            self.server.start()
            self.record(1)
            [segment] = self.spool.glob("*.ndjson")
            self._template = json.loads(segment.read_bytes())
            self.server.kill()


@pytest.fixture
def harness(server: Server) -> EventStoreFaultHarness:
    harness = EventStoreFaultHarness(server)
    harness.record()
    harness.assert_recorded()
    assert server.stop() == 0
    return harness


def test_locked_store_delays_no_client_and_loading_resumes_when_it_is_released(
    harness: EventStoreFaultHarness,
) -> None:
    with locked(harness.store):
        harness.server.start()
        for _ in range(3):
            harness.record()
            assert harness.read_status() == 503
        code, output = harness.doctor()
        assert code == 1
        assert "event store cannot be used" in output
        assert "no event is lost" in output
        assert "Stop the process that locks it" in output
        assert harness.server.metric("hitrate_event_store_up") == 0
    eventually(lambda: harness.read_status() == 200)
    harness.record()
    harness.assert_recorded()
    assert harness.doctor()[0] == 0
    assert harness.server.metric("hitrate_event_store_up") == 1


def test_server_stopped_while_the_store_is_locked_keeps_events_in_the_spool(
    harness: EventStoreFaultHarness,
) -> None:
    with locked(harness.store):
        harness.server.start()
        harness.record()
        assert harness.server.stop() == 0
        assert list(harness.spool.glob("*.ndjson"))
        code, output = harness.doctor()
        assert code == 1
        assert "event store cannot be opened" in output
    assert harness.doctor()[0] == 0
    harness.server.start()
    harness.assert_recorded()


@pytest.mark.parametrize("intact_bytes", [0, 4096])
def test_damaged_store_delays_no_client_and_loading_resumes_when_it_is_moved_away(
    harness: EventStoreFaultHarness, intact_bytes: int
) -> None:
    content = harness.store.read_bytes()
    harness.store.write_bytes(content[:intact_bytes] + b"garbage " * (len(content) // 8))
    harness.expected_state = ExpectedState()
    harness.server.start()
    harness.record()
    assert harness.read_status() == 503
    code, output = harness.doctor()
    assert code == 1
    assert "event store cannot be used" in output
    assert "move a damaged file away" in output

    harness.store.rename(harness.store.with_suffix(".damaged"))
    harness.record()
    harness.assert_recorded()
    assert harness.doctor()[0] == 0


def test_write_ahead_log_left_by_a_crash_does_not_affect_a_new_store(
    harness: EventStoreFaultHarness,
) -> None:
    harness.server.start()
    eventually(lambda: harness.read_status() == 200)
    harness.record()
    with RawHttpClient(harness.server) as client:
        eventually(lambda: client.pending_segments() == 0)
    harness.server.kill()
    assert harness.store.with_suffix(".duckdb.wal").exists()
    harness.store.rename(harness.store.with_suffix(".damaged"))
    harness.expected_state = ExpectedState()
    harness.server.start()
    harness.record()
    eventually(lambda: harness.read_status() == 200)
    with RawHttpClient(harness.server) as client:
        eventually(lambda: client.pending_segments() == 0)
        events = client.events()
    sent_keys = {key for batch in harness.expected_state.batches for key in batch.keys}
    assert sum((event["sessionId"], event["hash"]) in sent_keys for event in events) == len(
        sent_keys
    )


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


@pytest.mark.parametrize("invalid", [UNREADABLE, INCOMPLETE], ids=["unreadable", "incomplete"])
def test_invalid_batches_are_quarantined_with_a_reason_and_valid_ones_are_loaded(
    harness: EventStoreFaultHarness, invalid: list[bytes | dict[str, Any]]
) -> None:
    harness.capture_spool_line()
    invalid_lines = [line if isinstance(line, bytes) else harness.line(**line) for line in invalid]
    for number, invalid_line in enumerate(invalid_lines):
        harness.write_segment(2 * number, harness.line(), harness.line())
        harness.write_segment(2 * number + 1, harness.line(), invalid_line, harness.line())
    harness.server.start()
    harness.assert_recorded()

    quarantined = sorted((harness.spool / "quarantine").glob("*.ndjson"))
    assert [path.read_bytes() for path in quarantined] == invalid_lines
    code, output = harness.doctor()
    assert code == 0  # a warning, not a failure
    for path in quarantined:
        assert path.with_suffix(".reason.txt").read_text().strip()
        assert path.name in output
        assert "/" not in path.with_suffix(".reason.txt").read_text()
    assert "Repair the .ndjson file and move it one directory up to load it, or delete it" in output
    assert "together with its .reason.txt" in output


def test_repaired_batch_is_loaded_when_moved_back_to_the_spool(
    harness: EventStoreFaultHarness,
) -> None:
    harness.capture_spool_line()
    valid_line = harness.line()
    harness.write_segment(
        1, valid_line.replace(b'"receivedAt": 1', b'"receivedAt": "x1'), harness.line()
    )
    harness.server.start()
    quarantined = eventually(lambda: list((harness.spool / "quarantine").glob("*.ndjson")))[0]
    quarantined.write_bytes(valid_line)
    quarantined.rename(harness.spool / quarantined.name)
    quarantined.with_suffix(".reason.txt").unlink()
    harness.assert_recorded()


def test_torn_last_line_is_truncated_and_the_lines_before_it_are_loaded(
    harness: EventStoreFaultHarness,
) -> None:
    harness.capture_spool_line()
    torn = harness.line(ci="torn off")
    harness.write_segment(1, harness.line(), harness.line(), torn[: len(torn) // 2])
    harness.write_segment(2, torn[:1])
    harness.server.start()
    harness.assert_recorded()
    assert harness.server.log.count("torn line truncated") == 2
    assert not (harness.spool / "quarantine").exists()
    assert harness.doctor()[0] == 0
