"""A full disk: refused cleanly, nothing lost, everything taken again as soon as there is room."""

import random
import threading
from contextlib import suppress
from typing import Self

from tests.conftest import StartServer
from tests.support.load_generator import Ledger, Load
from tests.support.raw_http import Answer, Artifact, Client, Pieces, assert_whole, make_artifact
from tests.support.server import Server, eventually, try_hitrate
from tests.support.small_disk import SmallDisk

MIB = 2**20
SEED = 20261122
SMALL, STREAMED = 10_000, 3 * MIB


def assert_unavailable(answer: Answer) -> None:
    """As the contract has it: the client may come again."""
    assert answer.status == 503, answer
    assert answer.code == "unavailable"
    assert int(answer.headers["retry-after"]) > 0


def upload(server: Server, artifact: Artifact, chunk_bytes: int | None = None) -> Answer:
    """The answer to an upload on a connection of its own: it may be refused half-way."""
    with Client(server) as client:
        return client.put(artifact, chunk_bytes)


class Recorder:
    """A client that sends batches one by one and knows which were acknowledged."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self._client = client
        self.ledger = ledger
        self._dice = random.Random(SEED + len(ledger.batches))

    def send(self) -> Answer:
        """Send one more batch."""
        batch = self.ledger.new_batch(self._dice)
        answer = self._client.post_events(batch.body)
        batch.acknowledged = answer.status == 200
        return answer

    def assert_exact(self) -> None:
        """All that was acknowledged is recorded once, and nothing that was refused is."""
        eventually(lambda: self._client.waiting_segments() == 0, 120)
        count = self.ledger.count_events(self._client.events())
        count.assert_exact()
        assert count.recorded == count.acknowledged, count


def test_a_disk_with_little_room_takes_events_longer_than_uploads_and_then_neither(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "32MiB", data_dir=disk.data_dir)
    first = make_artifact("first", 1, SMALL)
    with Client(server) as client:
        recorder = Recorder(client, Ledger())
        assert recorder.send().status == 200
        assert upload(server, first).status == 202

        for leave_mib in (48, 40, 36):
            disk.fill(leave_mib * MIB)
            assert recorder.send().status == 200
            assert upload(server, make_artifact(f"at{leave_mib}", 1, SMALL)).status == 202

        files = disk.artifact_files()
        for leave_mib in (28, 24, 20):
            disk.fill(leave_mib * MIB)
            assert recorder.send().status == 200
            assert_unavailable(upload(server, make_artifact("second", 1, SMALL)))
            assert_unavailable(upload(server, make_artifact("second", 1, STREAMED)))
            assert_unavailable(upload(server, make_artifact("first", 2, SMALL)))

        disk.fill(8 * MIB)
        eventually(lambda: recorder.send().status == 503)
        for _ in range(20):
            assert_unavailable(recorder.send())
            assert_unavailable(upload(server, make_artifact("second", 1, SMALL)))
        recorder.assert_exact()
        assert disk.artifact_files() == files
        assert assert_whole(client.get("first")) == 1
        assert client.get("second").status == 404
        assert client.request("GET", "/readyz").status == 503

        disk.empty()
        assert recorder.send().status == 200
        assert upload(server, make_artifact("second", 1, STREAMED)).status == 202
        assert assert_whole(client.get("second")) == 1
        assert client.request("GET", "/readyz").status == 200
        recorder.assert_exact()


def test_a_disk_without_any_room_refuses_everything_and_still_answers_reads(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    first = make_artifact("first", 1, STREAMED)
    with Client(server) as client:
        recorder = Recorder(client, Ledger())
        assert recorder.send().status == 200
        assert upload(server, first).status == 202
        files = disk.artifact_files()

        disk.fill(8 * MIB)
        eventually(lambda: recorder.send().status == 503)
        recorder.assert_exact()
        disk.fill()
        for size_bytes in (SMALL, STREAMED):
            for chunk_bytes in (None, 100_000):
                for artifact_hash in ("first", "second"):
                    refused = make_artifact(artifact_hash, 2, size_bytes)
                    assert_unavailable(upload(server, refused, chunk_bytes))
                    assert_unavailable(recorder.send())
        assert disk.artifact_files() == files
        assert assert_whole(client.get("first")) == 1
        assert client.get("second").status == 404
        recorder.assert_exact()

        disk.empty()
        assert recorder.send().status == 200
        for version, size_bytes in enumerate((SMALL, STREAMED), start=3):
            assert upload(server, make_artifact("first", version, size_bytes)).status == 202
            assert assert_whole(client.get("first")) == version
        recorder.assert_exact()


def test_a_disk_that_fills_up_again_and_again_under_load_loses_and_doubles_nothing(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    ledger = Ledger()

    def fill_and_empty() -> bool:
        # From more than the reserve to nothing at once: writes fail in the midst of it.
        disk.fill(20 * MIB)
        refused = len(ledger.refused)
        disk.fill()
        eventually(lambda: len(ledger.refused) > refused + 20)
        disk.empty()
        load.acknowledged.clear()
        assert load.acknowledged.wait(10), "not taken again although there is room"
        return "spool cannot be written" in server.log

    with Load(server, ledger, SEED, events=3, artifacts=2) as load:
        for _ in range(5):
            fill_and_empty()
        eventually(fill_and_empty, 120)

    for refused in ledger.refused:
        assert_unavailable(refused)
    assert_all_is_there(server, ledger)
    assert server.stop() == 0
    server.start()
    assert_all_is_there(server, ledger)


def assert_all_is_there(server: Server, ledger: Ledger) -> None:
    """What was acknowledged is there, whatever was refused in between."""
    with Client(server) as client:
        eventually(lambda: client.waiting_segments() == 0, 120)
        ledger.count_events(client.events()).assert_exact()
        ledger.assert_artifacts(client)


def test_an_upload_that_meets_the_end_of_the_disk_is_refused_and_leaves_no_file(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    size_bytes, piece = 40 * MIB, b"p" * MIB
    path = "/v8/artifacts/large"
    for headers in ({"content_length": size_bytes}, {"transfer_encoding": "chunked"}):
        with Pieces(server, "PUT", path, **headers) as pieces:
            send = pieces.send if "content_length" in headers else pieces.send_chunk
            for _ in range(20):
                send(piece)
            eventually(disk.artifact_files)
            disk.fill()
            with suppress(ConnectionError):  # the answer may come before all is sent
                for _ in range(20):
                    send(piece)
            assert_unavailable(pieces.answer())
        assert disk.artifact_files() == set()
        disk.empty()
    with Client(server) as client:
        assert client.get("large").status == 404
        large = make_artifact("large", 1, size_bytes)
        assert upload(server, large, MIB).status == 202
        assert assert_whole(client.get("large")) == 1


def test_uploads_never_take_the_room_that_is_kept_for_events(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "32MiB", data_dir=disk.data_dir)
    too_much = make_artifact("large", 1, disk.free_bytes - 8 * MIB)
    with LeastRoom(disk) as least:
        assert_unavailable(upload(server, too_much))
        assert_unavailable(upload(server, too_much, MIB))
    assert disk.artifact_files() == set()
    assert least.free_bytes >= 30 * MIB


class LeastRoom:
    """Watches the room on a disk for the length of a `with`."""

    def __init__(self, disk: SmallDisk) -> None:
        self._disk = disk
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.free_bytes = disk.free_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.free_bytes = min(self.free_bytes, self._disk.free_bytes)


def test_a_server_on_a_full_disk_stops_cleanly_and_starts_again(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server(data_dir=disk.data_dir)
    with Client(server) as client:
        recorder = Recorder(client, Ledger())
        assert recorder.send().status == 200
        assert upload(server, make_artifact("first", 1, SMALL)).status == 202
        disk.fill()
        assert assert_whole(client.get("first")) == 1  # a use, to be written down at the end
    assert server.stop() == 0
    server.start()
    with Client(server) as client:
        assert assert_whole(client.get("first")) == 1
        disk.empty()
        again = Recorder(client, recorder.ledger)
        assert again.send().status == 200
        again.assert_exact()


def test_a_log_on_the_full_disk_changes_no_answer_and_loading_goes_on_afterwards(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server(data_dir=disk.data_dir / "data")
    assert server.log_path.parent == disk.data_dir
    with Client(server) as client:
        recorder = Recorder(client, Ledger())
        disk.fill(24 * MIB)
        for _ in range(200):
            assert recorder.send().status == 200
        disk.fill()
        eventually(lambda: recorder.send().status != 200)
        for _ in range(100):
            assert_unavailable(recorder.send())
        eventually(lambda: server.metric("hitrate_load_failures_total") > 0)
        # A store that failed at writing is opened anew: for that moment there is no reading.
        eventually(lambda: client.request("GET", "/v1/events").status == 200)
        disk.empty()
        eventually(lambda: recorder.send().status == 200)
        recorder.assert_exact()


def test_the_operators_commands_say_that_the_disk_is_full(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server(data_dir=disk.data_dir)
    disk.fill()
    folder = ("--data-dir", str(disk.data_dir))
    for command in (
        ("doctor", "--port", str(server.port)),
        ("gc",),
        ("events", "--team", "default"),
    ):
        done = try_hitrate(*command, *folder)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "full" in done.stdout + done.stderr or "bytes free" in done.stdout
