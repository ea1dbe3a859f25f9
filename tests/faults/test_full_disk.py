"""A full disk: writes get a 503, nothing is lost, and writes work again once there is space."""

import random
import threading
from contextlib import suppress
from typing import Self

from tests.conftest import StartServer
from tests.support.load_generator import ExpectedState, LoadGenerator
from tests.support.raw_http import (
    RawHttpClient,
    RawResponse,
    SampleArtifact,
    StreamedRequest,
    assert_intact,
    create_artifact,
)
from tests.support.server import Server, eventually, try_hitrate
from tests.support.small_disk import SmallDisk

MIB = 2**20
SEED = 20261122
SMALL, STREAMED = 10_000, 3 * MIB


def assert_unavailable(response: RawResponse) -> None:
    """Check for a 503 with a Retry-After header."""
    assert response.status == 503, response
    assert response.code == "unavailable"
    assert int(response.headers["retry-after"]) > 0


def upload(server: Server, artifact: SampleArtifact, chunk_bytes: int | None = None) -> RawResponse:
    """Upload on a new connection, because the server may reject the upload midway."""
    with RawHttpClient(server) as client:
        return client.put(artifact, chunk_bytes)


class BatchSender:
    """Sends batches one by one and remembers which were acknowledged."""

    def __init__(self, client: RawHttpClient, expected: ExpectedState) -> None:
        self._client = client
        self.expected = expected
        self._rng = random.Random(SEED + len(expected.batches))

    def send(self) -> RawResponse:
        """Send another batch."""
        batch = self.expected.new_batch(self._rng)
        response = self._client.post_events(batch.body)
        batch.acknowledged = response.status == 200
        return response

    def assert_exact(self) -> None:
        """Check that acknowledged events are recorded once and rejected ones are not."""
        eventually(lambda: self._client.pending_segments() == 0, 120)
        count = self.expected.count_events(self._client.events())
        count.assert_exact()
        assert count.recorded == count.acknowledged, count


def test_low_disk_space_rejects_uploads_first_and_events_later(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "32MiB", data_dir=disk.data_dir)
    first = create_artifact("first", 1, SMALL)
    with RawHttpClient(server) as client:
        sender = BatchSender(client, ExpectedState())
        assert sender.send().status == 200
        assert upload(server, first).status == 202

        for leave_mib in (48, 40, 36):
            disk.fill(leave_mib * MIB)
            assert sender.send().status == 200
            assert upload(server, create_artifact(f"at{leave_mib}", 1, SMALL)).status == 202

        files = disk.artifact_files()
        for leave_mib in (28, 24, 20):
            disk.fill(leave_mib * MIB)
            assert sender.send().status == 200
            assert_unavailable(upload(server, create_artifact("second", 1, SMALL)))
            assert_unavailable(upload(server, create_artifact("second", 1, STREAMED)))
            assert_unavailable(upload(server, create_artifact("first", 2, SMALL)))

        disk.fill(8 * MIB)
        eventually(lambda: sender.send().status == 503)
        for _ in range(20):
            assert_unavailable(sender.send())
            assert_unavailable(upload(server, create_artifact("second", 1, SMALL)))
        sender.assert_exact()
        assert disk.artifact_files() == files
        assert assert_intact(client.get("first")) == 1
        assert client.get("second").status == 404
        assert client.request("GET", "/readyz").status == 503

        disk.empty()
        assert sender.send().status == 200
        assert upload(server, create_artifact("second", 1, STREAMED)).status == 202
        assert assert_intact(client.get("second")) == 1
        assert client.request("GET", "/readyz").status == 200
        sender.assert_exact()


def test_full_disk_rejects_all_writes_and_serves_reads(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    first = create_artifact("first", 1, STREAMED)
    with RawHttpClient(server) as client:
        sender = BatchSender(client, ExpectedState())
        assert sender.send().status == 200
        assert upload(server, first).status == 202
        files = disk.artifact_files()

        disk.fill(8 * MIB)
        eventually(lambda: sender.send().status == 503)
        sender.assert_exact()
        disk.fill()
        for size_bytes in (SMALL, STREAMED):
            for chunk_bytes in (None, 100_000):
                for artifact_hash in ("first", "second"):
                    artifact = create_artifact(artifact_hash, 2, size_bytes)
                    assert_unavailable(upload(server, artifact, chunk_bytes))
                    assert_unavailable(sender.send())
        assert disk.artifact_files() == files
        assert assert_intact(client.get("first")) == 1
        assert client.get("second").status == 404
        sender.assert_exact()

        disk.empty()
        assert sender.send().status == 200
        for version, size_bytes in enumerate((SMALL, STREAMED), start=3):
            assert upload(server, create_artifact("first", version, size_bytes)).status == 202
            assert assert_intact(client.get("first")) == version
        sender.assert_exact()


def test_disk_that_fills_repeatedly_under_load_loses_and_duplicates_nothing(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    expected = ExpectedState()

    def fill_and_empty() -> bool:
        # From more than the reserve to no space in one step, so that writes fail midway.
        disk.fill(20 * MIB)
        rejected = len(expected.rejected)
        disk.fill()
        eventually(lambda: len(expected.rejected) > rejected + 20)
        disk.empty()
        load.acknowledged.clear()
        assert load.acknowledged.wait(10), "no write succeeded although there is space"
        return "spool not writable" in server.log

    with LoadGenerator(server, expected, SEED, events=3, artifacts=2) as load:
        for _ in range(5):
            fill_and_empty()
        eventually(fill_and_empty, 120)

    for rejected in expected.rejected:
        assert_unavailable(rejected)
    assert_nothing_lost(server, expected)
    assert server.stop() == 0
    server.start()
    assert_nothing_lost(server, expected)


def assert_nothing_lost(server: Server, expected: ExpectedState) -> None:
    """Check that everything acknowledged is stored, and loaded exactly once."""
    with RawHttpClient(server) as client:
        eventually(lambda: client.pending_segments() == 0, 120)
        expected.count_events(client.events()).assert_exact()
        expected.assert_artifacts(client)


def test_upload_that_fills_the_disk_is_rejected_and_leaves_no_file(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "0", data_dir=disk.data_dir)
    size_bytes, chunk = 40 * MIB, b"p" * MIB
    path = "/v8/artifacts/large"
    for headers in ({"content_length": size_bytes}, {"transfer_encoding": "chunked"}):
        with StreamedRequest(server, "PUT", path, **headers) as request:
            send = request.send if "content_length" in headers else request.send_chunk
            for _ in range(20):
                send(chunk)
            eventually(disk.artifact_files)
            disk.fill()
            with suppress(ConnectionError):  # the response may arrive before everything is sent
                for _ in range(20):
                    send(chunk)
            assert_unavailable(request.response())
        assert disk.artifact_files() == set()
        disk.empty()
    with RawHttpClient(server) as client:
        assert client.get("large").status == 404
        large = create_artifact("large", 1, size_bytes)
        assert upload(server, large, MIB).status == 202
        assert assert_intact(client.get("large")) == 1


def test_uploads_never_use_the_space_reserved_for_events(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server("--min-free-bytes", "32MiB", data_dir=disk.data_dir)
    too_large = create_artifact("large", 1, disk.free_bytes - 8 * MIB)
    with FreeSpaceMonitor(disk) as monitor:
        assert_unavailable(upload(server, too_large))
        assert_unavailable(upload(server, too_large, MIB))
    assert disk.artifact_files() == set()
    assert monitor.min_free_bytes >= 30 * MIB


class FreeSpaceMonitor:
    """Records the minimum free space of a disk during a `with` block."""

    def __init__(self, disk: SmallDisk) -> None:
        self._disk = disk
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.min_free_bytes = disk.free_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.min_free_bytes = min(self.min_free_bytes, self._disk.free_bytes)


def test_server_on_a_full_disk_stops_cleanly_and_restarts(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server(data_dir=disk.data_dir)
    with RawHttpClient(server) as client:
        sender = BatchSender(client, ExpectedState())
        assert sender.send().status == 200
        assert upload(server, create_artifact("first", 1, SMALL)).status == 202
        disk.fill()
        assert assert_intact(client.get("first")) == 1  # a use, which shutdown tries to write
    assert server.stop() == 0
    server.start()
    with RawHttpClient(server) as client:
        assert assert_intact(client.get("first")) == 1
        disk.empty()
        retry = BatchSender(client, sender.expected)
        assert retry.send().status == 200
        retry.assert_exact()


def test_log_file_on_the_full_disk_changes_no_response_and_loading_resumes(
    disk: SmallDisk, start_server: StartServer
) -> None:
    server = start_server(data_dir=disk.data_dir / "data")
    assert server.log_path.parent == disk.data_dir
    with RawHttpClient(server) as client:
        sender = BatchSender(client, ExpectedState())
        # On a full disk the store could be reopened, but not created.
        eventually(lambda: client.request("GET", "/v1/events").status == 200)
        disk.fill(24 * MIB)
        for _ in range(200):
            assert sender.send().status == 200
        disk.fill()
        eventually(lambda: sender.send().status != 200)
        for _ in range(100):
            assert_unavailable(sender.send())
        eventually(lambda: server.metric("hitrate_event_load_failures_total") > 0)
        # A store whose write failed is reopened; until then reads get a 503.
        eventually(lambda: client.request("GET", "/v1/events").status == 200)
        disk.empty()
        eventually(lambda: sender.send().status == 200)
        sender.assert_exact()


def test_operator_commands_report_a_full_disk(disk: SmallDisk, start_server: StartServer) -> None:
    server = start_server(data_dir=disk.data_dir)
    disk.fill()
    data_dir = ("--data-dir", str(disk.data_dir))
    for command in (
        ("doctor", "--port", str(server.port)),
        ("gc",),
        ("events", "--team", "default"),
    ):
        process = try_hitrate(*command, *data_dir)
        assert process.returncode == 1
        assert "Traceback" not in process.stderr
        assert "full" in process.stdout + process.stderr or "bytes free" in process.stdout
