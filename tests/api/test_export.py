"""Exports over HTTP: content, headers, streaming, limits and cleanup."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from hitrate.analytics.export.datasets import DatasetName
from hitrate.analytics.export.jobs import ExportManager
from hitrate.clock import ManualClock
from tests.conftest import StartServer
from tests.support.event_factory import body, event
from tests.support.export_harness import COLUMNS, READERS, Rows, parquet_types
from tests.support.manual_clock_server import ManualClockServer
from tests.support.server import Server, eventually
from tests.support.team_fixture import run_team_server

EVENTS = "/v8/artifacts/events"
TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
FORMATS = sorted(TYPES)
DATASETS = sorted(COLUMNS)


class ExportClient:
    """A team of a server, with a token."""

    def __init__(self, server: Server, slug: str) -> None:
        self.server = server
        self.slug = slug
        server.command("team", "create", slug)
        self.token = server.create_token("--label", f"of {slug}", team=slug)

    def send(self, *events: dict[str, Any], **headers: str) -> None:
        """Record a batch."""
        encoded = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.server.request(
            "POST", EVENTS, content=body(*events), headers=encoded, token=self.token
        )
        assert response.status_code == 200, response.text

    def upload(self, name: str, content: bytes, **headers: str) -> None:
        """Store an artifact."""
        encoded = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"/v8/artifacts/{name}"
        response = self.server.request(
            "PUT", path, content=content, headers=encoded, token=self.token
        )
        assert response.status_code == 202, response.text

    def get(self, path: str, **params: Any) -> httpx.Response:
        """Request a route after all events are loaded."""
        return self.server.request(
            "GET", f"/v1/{path}", params={"fresh": True, **params}, token=self.token
        )

    def export(self, dataset: str, format_name: str, **params: Any) -> Rows:
        """Return the rows of an export."""
        response = self.get(f"export/{dataset}", format=format_name, **params)
        assert response.status_code == 200, response.text
        return READERS[format_name](response.content)


@pytest.fixture(scope="module")
def client(shared_server: Server) -> ExportClient:
    """A team with two runs, one of them in CI, and an artifact."""
    client = ExportClient(shared_server, "exported")
    artifact_headers = {"x_artifact_duration": "1500", "x_artifact_sha": "f" * 40}
    client.upload("00000000000000aa", b"12345", **artifact_headers)
    client.send(
        event(sessionId="laptop", hash="00000000000000aa", duration=250),
        event(sessionId="laptop", hash="00000000000000bb", event="MISS", duration=0),
        event(sessionId="laptop", hash="00000000000000bb", event="MISS", source="REMOTE"),
    )
    client.send(
        event(sessionId="ci", hash="00000000000000aa", source="REMOTE", duration=0),
        x_artifact_client_ci="GITHUB_ACTIONS",
        x_artifact_client_interactive="0",
    )
    return client


@pytest.mark.parametrize("format_name", FORMATS)
def test_exported_totals_match_the_reports(client: ExportClient, format_name: str) -> None:
    summary = client.get("analytics/summary").json()
    events = client.export("events", format_name)
    runs = client.export("runs", format_name)
    assert len(events) == summary["events"] == 4
    assert len(runs) == summary["runs"] == 2
    for name in ("tasks", "localHits", "remoteHits", "misses", "events", "duplicates"):
        assert sum(run[name] for run in runs) == summary[name]
    assert sum(run["timeSavedLocalMs"] for run in runs) == summary["timeSavedMs"]["local"] == 250
    assert sum(run["timeSavedRemoteMs"] for run in runs) == summary["timeSavedMs"]["remote"] == 1500
    assert [run["hitRate"] for run in runs] == [0.5, 1]
    [remote_hit] = [one for one in events if one["sessionId"] == "ci"]
    assert (remote_hit["duration"], remote_hit["artifactDuration"]) == (0, 1500)
    event_list = client.get("events").json()["events"]
    assert [{**one, "artifactDuration": None} for one in events] == [
        {**one, "artifactDuration": None} for one in reversed(event_list)
    ]


@pytest.mark.parametrize("format_name", FORMATS)
def test_exported_runs_and_artifacts_match_the_lists(
    client: ExportClient, format_name: str
) -> None:
    runs = {run["sessionId"]: flat(run) for run in client.get("runs").json()["runs"]}
    assert {run["sessionId"]: run for run in client.export("runs", format_name)} == runs
    [entry] = client.get("artifacts").json()["artifacts"]
    [exported] = client.export("artifacts", format_name)
    assert {**exported, "producedBy": None} == {**flat(entry), "producedBy": None}
    assert (exported["localHits"], exported["remoteHits"]) == (1, 1)


def flat(entry: dict[str, Any]) -> dict[str, Any]:
    """Convert an entry of a list to the row of the export."""
    row = {**entry, **entry["sender"]}
    del row["sender"]
    if isinstance(saved := row["timeSavedMs"], dict):
        row |= {"timeSavedLocalMs": saved["local"], "timeSavedRemoteMs": saved["remote"]}
        del row["timeSavedMs"]
    if hits := row.pop("hits", None):
        row |= {"localHits": hits["local"], "remoteHits": hits["remote"]}
    return row


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_export_has_content_type_and_file_name(
    client: ExportClient, dataset: DatasetName, format_name: str
) -> None:
    response = client.get(
        f"export/{dataset}", format=format_name, since="2026-01-01", until="2099-12-31T12:00:00Z"
    )
    assert response.headers["content-type"] == TYPES[format_name]
    name = f'attachment; filename="exported-{dataset}-2026-01-01-to-2099-12-31.{format_name}"'
    assert response.headers["content-disposition"] == name
    assert response.headers["x-request-id"]
    all_time = client.get(f"export/{dataset}", format=format_name, until="2099-01-01T00:00:00Z")
    assert (
        f'filename="exported-{dataset}-to-2098-12-31.{format_name}"'
        in (all_time.headers["content-disposition"])
    )
    if format_name == "parquet":
        assert int(response.headers["content-length"]) == len(response.content)
        assert list(parquet_types(response.content)) == COLUMNS[dataset]
    else:
        [row] = READERS[format_name](response.content)[:1]
        assert list(row) == COLUMNS[dataset]


def test_export_defaults_to_ndjson_of_everything(client: ExportClient) -> None:
    response = client.get("export/events")
    assert response.headers["content-type"] == TYPES["ndjson"]
    assert len(response.text.splitlines()) == 4
    assert client.get("export/events", since="2099-01-01", until="2099-01-02").content == b""
    assert client.export("runs", "csv", until="2001-01-01") == []


def test_filters_select_runs_and_their_events(client: ExportClient) -> None:
    for params, sessions in (
        ({"ci": "any"}, {"ci"}),
        ({"ci": "none"}, {"laptop"}),
        ({"interactive": "false"}, {"ci"}),
        ({"agent": "any"}, set()),
        ({"token": "current"}, {"ci", "laptop"}),
        ({"token": "tok_other"}, set()),
    ):
        for dataset in ("events", "runs"):
            assert {row["sessionId"] for row in client.export(dataset, "csv", **params)} == sessions


def test_exported_hits_cover_the_period(client: ExportClient) -> None:
    [row] = client.export("artifacts", "ndjson", since="2099-01-01", until="2099-01-02")
    assert (row["localHits"], row["remoteHits"], row["timeSavedMs"]) == (0, 0, 0)


def test_other_team_exports_nothing(client: ExportClient) -> None:
    other = ExportClient(client.server, "other")
    for dataset in DATASETS:
        for format_name in FORMATS:
            assert other.export(dataset, format_name) == []
        response = client.server.request(
            "GET", f"/v1/export/{dataset}", params={"slug": client.slug}, token=other.token
        )
        assert response.status_code == 403


def test_export_preserves_unusual_text(shared_server: Server) -> None:
    client = ExportClient(shared_server, "unusual-exports")
    texts = [
        'a"b', "a\nb", "a\r\nb", "a,b;c\td", "é😀\u2028", "\0", "a\0b", "\\", "'", " x ", "NULL",
    ]  # fmt: skip
    client.send(*(event(sessionId=text, hash=text) for text in texts), x_ai_agent='"x"')
    for format_name in FORMATS:
        events, runs = client.export("events", format_name), client.export("runs", format_name)
        assert [row["hash"] for row in events] == [row["sessionId"] for row in events] == texts
        assert sorted(row["sessionId"] for row in runs) == sorted(texts)
        assert {row["agent"] for row in events + runs} == {'"x"'}


@pytest.mark.parametrize(
    ("query", "expected_text"),
    [
        ("format=xml", "format"),
        ("format=CSV", "format"),
        ("format=", "format"),
        ("since=yesterday", "since"),
        ("since=2026-01-02&until=2026-01-01", "until"),
        ("interactive=perhaps", "interactive"),
    ],
)
def test_400_names_the_invalid_parameter(
    client: ExportClient, query: str, expected_text: str
) -> None:
    response = client.server.request("GET", f"/v1/export/events?{query}", token=client.token)
    assert response.status_code == 400
    assert expected_text in response.json()["message"]


def test_openapi_documents_content_types_of_exports(shared_server: Server) -> None:
    paths = httpx.get(f"{shared_server.url}/openapi.json").json()["paths"]
    for dataset in DATASETS:
        operation = paths[f"/v1/export/{dataset}"]["get"]
        content = operation["responses"]["200"]["content"]
        assert {name.partition(";")[0] for name in TYPES.values()} == set(content)
        assert {"format", "since", "until", "fresh"} <= {p["name"] for p in operation["parameters"]}


def test_503_is_sent_before_the_body_when_free_space_is_low(start_server: StartServer) -> None:
    server = start_server("--min-free-bytes", "1000TiB")
    eventually(lambda: server.request("GET", "/v1/analytics/summary").status_code == 200)
    for format_name in FORMATS:
        response = server.request("GET", f"/v1/export/events?format={format_name}")
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert "Too little free disk space" in response.json()["message"]
        assert int(response.headers["retry-after"]) > 0


# Large exports, and clients that read slowly or disconnect.

EVENT_COUNT = 300_000
BATCH_SIZE = 50_000


BODY_END = b"0\r\n\r\n"
"""The end of a complete chunked body."""


class RawDownload:
    """A client that requests an export and reads the response in steps."""

    def __init__(self, server: Server, path: str) -> None:
        self._socket = socket.socket()
        # A small buffer, so that the server notices a client that does not read.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", server.port))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        self._socket.sendall(f"{head}Connection: close\r\n\r\n".encode())

    def read(self, size_bytes: int) -> int:
        """Read up to this many bytes; return how many were read."""
        left = size_bytes
        while left > 0 and (chunk := self._socket.recv(min(left, 65536))):
            left -= len(chunk)
        return size_bytes - left

    def read_to_end(self) -> bytes:
        """Read to the end of the connection; return the last 100 bytes."""
        last = b""
        while chunk := self._socket.recv(2**20):
            last = (last + chunk)[-100:]
        return last

    def read_first(self) -> bytes:
        """Return the first bytes."""
        return self._socket.recv(1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class StartedDownload(RawDownload):
    """A client that has received the status line."""

    def __init__(self, server: Server, path: str) -> None:
        super().__init__(server, path)
        self.status = int(self.read_first().split()[1])


@pytest.fixture(scope="module")
def large_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with many events."""
    server = Server(tmp_path_factory.mktemp("large_server") / "data")
    server.start()
    for start in range(0, EVENT_COUNT, BATCH_SIZE):
        numbers = range(start, start + BATCH_SIZE)
        items = (event(sessionId=f"run {n // 100}", hash=f"{n:016x}", duration=n) for n in numbers)
        assert server.request("POST", EVENTS, content=body(*items)).status_code == 200
    eventually(lambda: loaded_events(server) == EVENT_COUNT, seconds=60)
    yield server
    server.kill()


def loaded_events(server: Server) -> int:
    """Return the number of loaded events."""
    response = server.request("GET", "/v1/analytics/summary")
    return int(response.json()["events"]) if response.status_code == 200 else 0


def files_in_use(server: Server) -> list[str]:
    """Return the files that exports hold open, and everything in their directory."""
    assert server.process is not None
    directory = server.data_dir / "exports"
    open_files = []
    for number in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            open_files.append(str(number.readlink()))
        except FileNotFoundError:
            continue
    return [name for name in open_files if str(directory) in name] + [
        str(path) for path in directory.rglob("*")
    ]


def export_files(server: Server) -> list[Path]:
    """Return the files in the export directory."""
    return [path for path in (server.data_dir / "exports").rglob("*") if path.is_file()]


@contextmanager
def stream(server: Server, format_name: str) -> Iterator[httpx.Response]:
    """Stream an export of all events."""
    with httpx.stream(
        "GET",
        f"{server.url}/v1/export/events?format={format_name}",
        headers={"authorization": f"Bearer {server.token}"},
        timeout=60,
    ) as response:
        yield response


def rss_bytes(server: Server) -> int:
    """Return the resident memory of the server process."""
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("format_name", FORMATS)
def test_export_of_many_chunks_has_every_event_once(large_server: Server, format_name: str) -> None:
    response = large_server.request("GET", f"/v1/export/events?format={format_name}", timeout=120)
    ids = [row["id"] for row in READERS[format_name](response.content)]
    assert len(ids) == len(set(ids)) == EVENT_COUNT
    assert ids == sorted(ids)
    eventually(lambda: files_in_use(large_server) == [])


def test_memory_is_bounded_for_fast_and_slow_clients(large_server: Server) -> None:
    before = highest = rss_bytes(large_server)
    for format_name in FORMATS:
        with stream(large_server, format_name) as response:
            for _ in response.iter_raw():
                highest = max(highest, rss_bytes(large_server))
    with ExitStack() as stack:
        readers = [
            stack.enter_context(StartedDownload(large_server, "/v1/export/events"))
            for _ in range(4)
        ]
        total = 0
        while size := sum(reader.read(500_000) for reader in readers):
            highest = max(highest, rss_bytes(large_server))
            total += size
    assert total > 250_000_000
    assert highest - before < 120 * 2**20
    eventually(lambda: files_in_use(large_server) == [])


@pytest.mark.parametrize("format_name", ["ndjson", "csv"])
def test_disconnect_during_the_body_leaves_no_files(large_server: Server, format_name: str) -> None:
    with StartedDownload(large_server, f"/v1/export/events?format={format_name}") as reader:
        assert reader.status == 200
        assert any(name.endswith("(deleted)") for name in files_in_use(large_server))
        reader.read(1_000_000)
    eventually(lambda: files_in_use(large_server) == [])


def test_disconnect_before_the_body_stops_the_export(large_server: Server) -> None:
    with RawDownload(large_server, "/v1/export/events?format=parquet"):
        eventually(lambda: export_files(large_server))
    eventually(lambda: files_in_use(large_server) == [])


def test_failure_during_the_body_aborts_the_connection(large_server: Server) -> None:
    with StartedDownload(large_server, "/v1/export/events") as reader:
        remove_job_directories(large_server)
        assert not reader.read_to_end().endswith(BODY_END)
    eventually(lambda: "export aborted" in large_server.log)
    with pytest.raises(httpx.RemoteProtocolError), stream(large_server, "csv") as response:
        for _ in response.iter_raw():
            remove_job_directories(large_server)
    with StartedDownload(large_server, "/v1/export/runs") as reader:
        assert reader.read_to_end().endswith(BODY_END)
    eventually(lambda: files_in_use(large_server) == [])


def remove_job_directories(server: Server) -> None:
    """Remove the directories of all jobs, so that the next file cannot be written."""
    for directory in (server.data_dir / "exports").iterdir():
        shutil.rmtree(directory)


def test_export_stops_when_the_client_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hitrate.app.wiring.ExportManager", partial(ExportManager, send_timeout_s=0.5)
    )
    server = ManualClockServer(tmp_path / "data", ManualClock())
    with run_team_server(server, server.clock) as team_server:
        team = team_server.accounts.teams.create("stalled")
        server.token = team_server.accounts.tokens.create(team, "")[1]
        for batch in range(2):
            items = (event(hash=f"{n:016x}", duration=batch) for n in range(50_000))
            assert server.request("POST", EVENTS, content=body(*items)).status_code == 200
        eventually(lambda: loaded_events(server) == 100_000, seconds=60)
        with StartedDownload(server, "/v1/export/events") as reader:
            assert reader.status == 200
            eventually(lambda: list((tmp_path / "data" / "exports").iterdir()) == [])
            assert not reader.read_to_end().endswith(BODY_END)


def test_fifth_concurrent_export_of_a_team_is_rate_limited(large_server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            download = StartedDownload(large_server, "/v1/export/events")
            assert stack.enter_context(download).status == 200
        response = large_server.request("GET", "/v1/export/runs")
        assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
        assert int(response.headers["retry-after"]) > 0
    eventually(lambda: large_server.request("GET", "/v1/export/runs").status_code == 200)


def test_server_stop_aborts_running_exports(large_server: Server) -> None:
    with StartedDownload(large_server, "/v1/export/events") as reader:
        started = time.monotonic()
        assert large_server.stop() == 0
        assert time.monotonic() - started < 10
        assert not reader.read_to_end().endswith(BODY_END)
    assert list((large_server.data_dir / "exports").iterdir()) == []
    large_server.start()


def test_server_start_removes_files_of_a_killed_server(large_server: Server) -> None:
    eventually(lambda: loaded_events(large_server) == EVENT_COUNT)
    with RawDownload(large_server, "/v1/export/events?format=parquet"):
        eventually(lambda: export_files(large_server))
        large_server.kill()
    assert export_files(large_server)
    large_server.start()
    assert files_in_use(large_server) == []
