"""Ten times the cache's room is uploaded: the cap holds all along, and what is used stays."""

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
from tests.support.raw_http import Artifact, Client, assert_whole, make_artifact
from tests.support.server import Server, eventually

MB = 10**6
CAP_BYTES = 200 * MB
UPLOADED_BYTES = 2000 * MB
UPLOADERS = 8
LARGE_BYTES = 10 * MB
TEAM_CAP_BYTES = 60 * MB

ALLOWANCE_BYTES = 10 * MB
"""What may stand on the disk beyond the cap and the bodies in flight: a twentieth of the cap.
Collecting starts an eighth below the cap and goes on behind the uploads' backs: on a busy machine
some may be acknowledged before it has made their room."""


class Disk:
    """Samples the room that artifacts take, against the cap and what was in flight."""

    def __init__(self, folder: Path, cap_bytes: int) -> None:
        self._folder = folder
        self._cap_bytes = cap_bytes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._in_flight = 0
        self._started = 0
        self.samples = 0
        self.most_bytes = 0
        self.worst_excess = -cap_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def upload(self, client: Client, artifact: Artifact) -> None:
        """Upload, which must succeed; in flight until it is acknowledged."""
        with self._lock:
            self._in_flight += len(artifact.body)
            self._started += len(artifact.body)
        answer = client.put(artifact)
        with self._lock:
            self._in_flight -= len(artifact.body)
        assert answer.status == 202, answer

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            with self._lock:
                in_flight, started = self._in_flight, self._started
            used = size_bytes(self._folder)
            with self._lock:
                in_flight += self._started - started  # came while the files were counted
            self.samples += 1
            self.most_bytes = max(self.most_bytes, used)
            self.worst_excess = max(self.worst_excess, used - in_flight - self._cap_bytes)


def each(number: int, job: Callable[[int], None]) -> None:
    """Run the job so many times at once; raise what any of them raises."""
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(job, n) for n in range(number)]:
            done.result()


def test_ten_times_the_cap_is_uploaded_and_the_cap_holds_while_hot_artifacts_stay(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server("--max-cache-bytes", str(CAP_BYTES))
    hot = [make_artifact(f"hot{n}", n, MB) for n in range(5)]
    turns = count()
    uploaded = threading.Event()
    gets = 0

    def read_hot() -> None:
        nonlocal gets
        with Client(server) as client:
            while not uploaded.wait(0.05):
                for artifact in hot:
                    assert client.get(artifact.hash).body == artifact.body
                    gets += 1

    def upload(_: int) -> None:
        with Client(server) as client:
            while (turn := next(turns)) < len(sizes):
                disk.upload(client, make_artifact(f"cold{turn}", turn, sizes[turn]))

    sizes = list(_sizes())
    with Client(server) as client, Disk(server.data_dir / "artifacts", CAP_BYTES) as disk:
        for artifact in hot:
            disk.upload(client, artifact)
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(read_hot)
            try:
                each(UPLOADERS, upload)
            finally:
                uploaded.set()
            reading.result()
        for artifact in hot:
            assert client.get(artifact.hash).body == artifact.body
    with capsys.disabled():
        print(
            f"\n{sum(sizes) / MB:.0f} MB in {len(sizes)} uploads, cap {CAP_BYTES / MB:.0f} MB: "
            f"{disk.samples} samples, at most {disk.most_bytes / MB:.1f} MB on the disk, "
            f"at worst {disk.worst_excess / MB:+.1f} MB against the cap and the bodies in flight; "
            f"{gets} hot reads, none failed"
        )
    assert disk.samples > 100
    assert disk.most_bytes > CAP_BYTES * 0.8, "the cache was never full"
    assert disk.worst_excess <= ALLOWANCE_BYTES
    assert server.metric("hitrate_artifacts_evicted_total") > 0


def test_replaced_artifacts_count_towards_the_cap(start_server: StartServer) -> None:
    cap_bytes = 100 * MB
    server = start_server("--max-cache-bytes", str(cap_bytes))

    def overwrite(number: int) -> None:
        with Client(server) as client:
            for version in range(20):
                artifact = make_artifact(f"same{number}", version, LARGE_BYTES)
                disk.upload(client, artifact)

    with Disk(server.data_dir / "artifacts", cap_bytes) as disk:
        each(2, overwrite)
    assert disk.worst_excess <= ALLOWANCE_BYTES, f"{disk.most_bytes} bytes on the disk"


def test_a_teams_uploads_never_push_out_another_teams(start_server: StartServer) -> None:
    server = start_server("--max-team-cache-bytes", str(TEAM_CAP_BYTES))
    server.command("team", "create", "calm")
    calm_token, busy_token = server.create_token(team="calm"), server.token
    calm = [make_artifact(f"same{n}", n, MB) for n in range(50)]
    with Client(server, calm_token) as client:
        for artifact in calm:
            assert client.put(artifact).status == 202

    def upload(number: int) -> None:
        with Client(server, busy_token) as client:
            for n in range(40):
                artifact = make_artifact(f"same{n + 10 * number}", 100 * number + n, MB)
                assert client.put(artifact).status == 202

    each(4, upload)
    with Client(server, calm_token) as client:
        for artifact in calm:
            assert assert_whole(client.get(artifact.hash)) == artifact.version
    calm_team, busy_team = team_folder(server, "calm"), team_folder(server, "default")
    eventually(lambda: size_bytes(busy_team) <= TEAM_CAP_BYTES)
    assert size_bytes(calm_team) == len(calm) * MB


def team_folder(server: Server, slug: str) -> Path:
    """Where a team's artifacts stand."""
    teams = json.loads(server.command("team", "list", "--json"))
    [team_id] = [team["id"] for team in teams if team["slug"] == slug]
    return server.data_dir / "artifacts" / str(team_id)


def size_bytes(folder: Path) -> int:
    """The sum of all files below a folder now."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _sizes() -> Iterator[int]:
    """Mostly 1 MB, some 10 MB, together what is to be uploaded."""
    total = 0
    for number in count():
        if total >= UPLOADED_BYTES:
            return
        size = LARGE_BYTES if number % 20 == 7 else MB
        total += size
        yield size
