"""Cache size limits hold during uploads of ten times the limit, and used artifacts stay."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import StartServer
from tests.support.raw_http import RawHttpClient, SampleArtifact, assert_intact, create_artifact
from tests.support.server import Server, eventually

MB = 10**6
LIMIT_BYTES = 200 * MB
UPLOADED_BYTES = 2000 * MB
UPLOADERS = 8
LARGE_BYTES = 10 * MB
TEAM_LIMIT_BYTES = 60 * MB

ALLOWANCE_BYTES = 10 * MB
"""Tolerated excess on disk over the limit and the bodies in flight: a twentieth of the limit.
Eviction starts an eighth below the limit and runs in the background, so on a busy machine some
uploads may be acknowledged before it has freed their space."""


class DiskUsageMonitor:
    """Samples the size of all bodies and compares it with the limit plus the bodies in flight."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._in_flight = 0
        self._started = 0
        self.samples = 0
        self.max_bytes = 0
        self.max_excess_bytes = -limit_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def upload(self, client: RawHttpClient, artifact: SampleArtifact) -> None:
        """Upload an artifact, which must succeed; it is in flight until it is acknowledged."""
        with self._lock:
            self._in_flight += len(artifact.body)
            self._started += len(artifact.body)
        response = client.put(artifact)
        with self._lock:
            self._in_flight -= len(artifact.body)
        assert response.status == 202, response

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            with self._lock:
                in_flight, started = self._in_flight, self._started
            used = size_bytes(self._directory)
            with self._lock:
                in_flight += self._started - started  # started while the files were counted
            self.samples += 1
            self.max_bytes = max(self.max_bytes, used)
            self.max_excess_bytes = max(self.max_excess_bytes, used - in_flight - self._limit_bytes)


def run_concurrently(number: int, job: Callable[[int], None]) -> None:
    """Run the job on so many threads; raise the error that any of them raises."""
    with ThreadPoolExecutor(number) as pool:
        for future in [pool.submit(job, n) for n in range(number)]:
            future.result()


def test_cache_limit_holds_during_uploads_and_used_artifacts_stay(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server("--max-cache-bytes", str(LIMIT_BYTES))
    hot = [create_artifact(f"hot{n}", n, MB) for n in range(5)]
    numbers = count()
    uploaded = threading.Event()
    gets = 0

    def read_hot() -> None:
        nonlocal gets
        with RawHttpClient(server) as client:
            while not uploaded.wait(0.05):
                for artifact in hot:
                    assert client.get(artifact.hash).body == artifact.body
                    gets += 1

    def upload(_: int) -> None:
        with RawHttpClient(server) as client:
            while (number := next(numbers)) < len(sizes):
                disk.upload(client, create_artifact(f"cold{number}", number, sizes[number]))

    sizes = list(_sizes())
    with (
        RawHttpClient(server) as client,
        DiskUsageMonitor(server.data_dir / "artifacts", LIMIT_BYTES) as disk,
    ):
        for artifact in hot:
            disk.upload(client, artifact)
        with ThreadPoolExecutor(1) as executor:
            read_future = executor.submit(read_hot)
            try:
                run_concurrently(UPLOADERS, upload)
            finally:
                uploaded.set()
            read_future.result()
        for artifact in hot:
            assert client.get(artifact.hash).body == artifact.body
    with capsys.disabled():
        print(
            f"\n{sum(sizes) / MB:.0f} MB in {len(sizes)} uploads, limit {LIMIT_BYTES / MB:.0f} MB: "
            f"{disk.samples} samples, at most {disk.max_bytes / MB:.1f} MB on the disk, "
            f"at most {disk.max_excess_bytes / MB:+.1f} MB relative to the limit plus the bodies "
            f"in flight; {gets} reads of hot artifacts, none failed"
        )
    assert disk.samples > 100
    assert disk.max_bytes > LIMIT_BYTES * 0.8, "the cache was never full"
    assert disk.max_excess_bytes <= ALLOWANCE_BYTES
    assert server.metric("hitrate_artifacts_evicted_total") > 0


def test_replaced_artifacts_count_towards_the_cache_limit(start_server: StartServer) -> None:
    limit_bytes = 100 * MB
    server = start_server("--max-cache-bytes", str(limit_bytes))

    def overwrite(number: int) -> None:
        with RawHttpClient(server) as client:
            for version in range(20):
                artifact = create_artifact(f"same{number}", version, LARGE_BYTES)
                disk.upload(client, artifact)

    with DiskUsageMonitor(server.data_dir / "artifacts", limit_bytes) as disk:
        run_concurrently(2, overwrite)
    assert disk.max_excess_bytes <= ALLOWANCE_BYTES, f"{disk.max_bytes} bytes on the disk"


def test_team_cache_limit_never_evicts_artifacts_of_another_team(start_server: StartServer) -> None:
    server = start_server("--max-team-cache-bytes", str(TEAM_LIMIT_BYTES))
    server.command("team", "create", "calm")
    calm_token, busy_token = server.create_token(team="calm"), server.token
    calm = [create_artifact(f"same{n}", n, MB) for n in range(50)]
    with RawHttpClient(server, calm_token) as client:
        for artifact in calm:
            assert client.put(artifact).status == 202

    def upload(number: int) -> None:
        with RawHttpClient(server, busy_token) as client:
            for n in range(40):
                artifact = create_artifact(f"same{n + 10 * number}", 100 * number + n, MB)
                assert client.put(artifact).status == 202

    run_concurrently(4, upload)
    with RawHttpClient(server, calm_token) as client:
        for artifact in calm:
            assert assert_intact(client.get(artifact.hash)) == artifact.version
    calm_team, busy_team = team_directory(server, "calm"), team_directory(server, "default")
    eventually(lambda: size_bytes(busy_team) <= TEAM_LIMIT_BYTES)
    assert size_bytes(calm_team) == len(calm) * MB


def team_directory(server: Server, slug: str) -> Path:
    """Return the directory of a team's artifacts."""
    teams = json.loads(server.command("team", "list", "--json"))
    [team_id] = [team["id"] for team in teams if team["slug"] == slug]
    return server.data_dir / "artifacts" / str(team_id)


def size_bytes(directory: Path) -> int:
    """Return the current size of all files below a directory."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _sizes() -> Iterator[int]:
    """Yield sizes of 1 MB, some of 10 MB, which add up to UPLOADED_BYTES."""
    total = 0
    for number in count():
        if total >= UPLOADED_BYTES:
            return
        size = LARGE_BYTES if number % 20 == 7 else MB
        total += size
        yield size
