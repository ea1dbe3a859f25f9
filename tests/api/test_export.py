"""`/v1/export/…` on a real server: what it says, how it flows, and how it ends."""

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
TABLES = sorted(COLUMNS)


class Client:
    """A team of a server, and a token of theirs."""

    def __init__(self, server: Server, slug: str) -> None:
        self.server = server
        self.slug = slug
        server.command("team", "create", slug)
        self.token = server.create_token("--label", f"of {slug}", team=slug)

    def send(self, *events: dict[str, Any], **headers: str) -> None:
        """Record a batch."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.server.request(
            "POST", EVENTS, content=body(*events), headers=named, token=self.token
        )
        assert answer.status_code == 200, answer.text

    def upload(self, name: str, content: bytes, **headers: str) -> None:
        """Store an artifact."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"/v8/artifacts/{name}"
        answer = self.server.request("PUT", path, content=content, headers=named, token=self.token)
        assert answer.status_code == 202, answer.text

    def get(self, path: str, **params: Any) -> httpx.Response:
        """What a route of ours answers when all is counted."""
        return self.server.request(
            "GET", f"/v1/{path}", params={"fresh": True, **params}, token=self.token
        )

    def export(self, what: str, form: str, **params: Any) -> Rows:
        """The rows of an export."""
        answer = self.get(f"export/{what}", format=form, **params)
        assert answer.status_code == 200, answer.text
        return READERS[form](answer.content)


@pytest.fixture(scope="module")
def client(shared_server: Server) -> Client:
    """With two runs, of which one is of a CI, and an artifact."""
    client = Client(shared_server, "exported")
    made = {"x_artifact_duration": "1500", "x_artifact_sha": "f" * 40}
    client.upload("00000000000000aa", b"12345", **made)
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


@pytest.mark.parametrize("form", FORMATS)
def test_exported_totals_match_the_reports(client: Client, form: str) -> None:
    summary = client.get("analytics/summary").json()
    events = client.export("events", form)
    runs = client.export("runs", form)
    assert len(events) == summary["events"] == 4
    assert len(runs) == summary["runs"] == 2
    for name in ("tasks", "localHits", "remoteHits", "misses", "events", "duplicates"):
        assert sum(run[name] for run in runs) == summary[name]
    assert sum(run["timeSavedLocalMs"] for run in runs) == summary["timeSavedMs"]["local"] == 250
    assert sum(run["timeSavedRemoteMs"] for run in runs) == summary["timeSavedMs"]["remote"] == 1500
    assert [run["hitRate"] for run in runs] == [0.5, 1]
    [told] = [one for one in events if one["sessionId"] == "ci"]
    assert (told["duration"], told["artifactDuration"]) == (0, 1500)
    listed = client.get("events").json()["events"]
    assert [{**one, "artifactDuration": None} for one in events] == [
        {**one, "artifactDuration": None} for one in reversed(listed)
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_exported_runs_and_artifacts_match_the_lists(client: Client, form: str) -> None:
    runs = {run["sessionId"]: flat(run) for run in client.get("runs").json()["runs"]}
    assert {run["sessionId"]: run for run in client.export("runs", form)} == runs
    [listed] = client.get("artifacts").json()["artifacts"]
    [exported] = client.export("artifacts", form)
    assert {**exported, "producedBy": None} == {**flat(listed), "producedBy": None}
    assert (exported["localHits"], exported["remoteHits"]) == (1, 1)


def flat(listed: dict[str, Any]) -> dict[str, Any]:
    """A run or an artifact of a list as it is exported."""
    row = {**listed, **listed["sender"]}
    del row["sender"]
    if isinstance(saved := row["timeSavedMs"], dict):
        row |= {"timeSavedLocalMs": saved["local"], "timeSavedRemoteMs": saved["remote"]}
        del row["timeSavedMs"]
    if hits := row.pop("hits", None):
        row |= {"localHits": hits["local"], "remoteHits": hits["remote"]}
    return row


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", TABLES)
def test_export_has_content_type_and_file_name(
    client: Client, what: DatasetName, form: str
) -> None:
    answer = client.get(
        f"export/{what}", format=form, since="2026-01-01", until="2099-12-31T12:00:00Z"
    )
    assert answer.headers["content-type"] == TYPES[form]
    name = f'attachment; filename="exported-{what}-2026-01-01-to-2099-12-31.{form}"'
    assert answer.headers["content-disposition"] == name
    assert answer.headers["x-request-id"]
    everything = client.get(f"export/{what}", format=form, until="2099-01-01T00:00:00Z")
    assert (
        f'filename="exported-{what}-to-2098-12-31.{form}"'
        in (everything.headers["content-disposition"])
    )
    if form == "parquet":
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert list(parquet_types(answer.content)) == COLUMNS[what]
    else:
        [row] = READERS[form](answer.content)[:1]
        assert list(row) == COLUMNS[what]


def test_export_defaults_to_ndjson_of_everything(client: Client) -> None:
    answer = client.get("export/events")
    assert answer.headers["content-type"] == TYPES["ndjson"]
    assert len(answer.text.splitlines()) == 4
    assert client.get("export/events", since="2099-01-01", until="2099-01-02").content == b""
    assert client.export("runs", "csv", until="2001-01-01") == []


def test_filters_select_runs_and_their_events(client: Client) -> None:
    for asked, sessions in (
        ({"ci": "any"}, {"ci"}),
        ({"ci": "none"}, {"laptop"}),
        ({"interactive": "false"}, {"ci"}),
        ({"agent": "any"}, set()),
        ({"token": "current"}, {"ci", "laptop"}),
        ({"token": "tok_other"}, set()),
    ):
        for what in ("events", "runs"):
            assert {row["sessionId"] for row in client.export(what, "csv", **asked)} == sessions


def test_exported_hits_cover_the_period(client: Client) -> None:
    [row] = client.export("artifacts", "ndjson", since="2099-01-01", until="2099-01-02")
    assert (row["localHits"], row["remoteHits"], row["timeSavedMs"]) == (0, 0, 0)


def test_other_team_exports_nothing(client: Client) -> None:
    lonely = Client(client.server, "lonely")
    for what in TABLES:
        for form in FORMATS:
            assert lonely.export(what, form) == []
        answer = client.server.request(
            "GET", f"/v1/export/{what}", params={"slug": client.slug}, token=lonely.token
        )
        assert answer.status_code == 403


def test_export_preserves_unusual_text(shared_server: Server) -> None:
    client = Client(shared_server, "odd-exports")
    odd = ['a"b', "a\nb", "a\r\nb", "a,b;c\td", "é😀\u2028", "\0", "a\0b", "\\", "'", " x ", "NULL"]
    client.send(*(event(sessionId=text, hash=text) for text in odd), x_ai_agent='"x"')
    for form in FORMATS:
        events, runs = client.export("events", form), client.export("runs", form)
        assert [row["hash"] for row in events] == [row["sessionId"] for row in events] == odd
        assert sorted(row["sessionId"] for row in runs) == sorted(odd)
        assert {row["agent"] for row in events + runs} == {'"x"'}


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("format=xml", "format"),
        ("format=CSV", "format"),
        ("format=", "format"),
        ("since=yesterday", "since"),
        ("since=2026-01-02&until=2026-01-01", "until"),
        ("interactive=perhaps", "interactive"),
    ],
)
def test_400_names_the_invalid_parameter(client: Client, query: str, word: str) -> None:
    answer = client.server.request("GET", f"/v1/export/events?{query}", token=client.token)
    assert answer.status_code == 400
    assert word in answer.json()["message"]


def test_openapi_documents_content_types_of_exports(shared_server: Server) -> None:
    paths = httpx.get(f"{shared_server.url}/openapi.json").json()["paths"]
    for what in TABLES:
        operation = paths[f"/v1/export/{what}"]["get"]
        content = operation["responses"]["200"]["content"]
        assert {name.partition(";")[0] for name in TYPES.values()} == set(content)
        assert {"format", "since", "until", "fresh"} <= {p["name"] for p in operation["parameters"]}


def test_503_is_sent_before_the_body_when_free_space_is_low(start_server: StartServer) -> None:
    server = start_server("--min-free-bytes", "1000TiB")
    eventually(lambda: server.request("GET", "/v1/analytics/summary").status_code == 200)
    for form in FORMATS:
        answer = server.request("GET", f"/v1/export/events?format={form}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "Too little free disk space" in answer.json()["message"]
        assert int(answer.headers["retry-after"]) > 0


# Large ones: some hundred thousand events, and clients that do not take them all at once.

MANY = 300_000
_A_BATCH = 50_000


END = b"0\r\n\r\n"
"""Of a body that is whole and did not tell its length."""


class Asked:
    """A client that asks for an export and takes what it wants of the answer."""

    def __init__(self, server: Server, path: str) -> None:
        self._socket = socket.socket()
        # So that the system keeps little for a client that does not read.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", server.port))
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        self._socket.sendall(f"{head}Connection: close\r\n\r\n".encode())

    def take(self, size_bytes: int) -> int:
        """Read so much, or to the end; how much that was."""
        left = size_bytes
        while left > 0 and (some := self._socket.recv(min(left, 65536))):
            left -= len(some)
        return size_bytes - left

    def rest(self) -> bytes:
        """The last that comes before the connection ends."""
        last = b""
        while some := self._socket.recv(2**20):
            last = (last + some)[-100:]
        return last

    def first(self) -> bytes:
        """What comes first."""
        return self._socket.recv(1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Reader(Asked):
    """One whose answer has begun."""

    def __init__(self, server: Server, path: str) -> None:
        super().__init__(server, path)
        self.status = int(self.first().split()[1])


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with many events."""
    server = Server(tmp_path_factory.mktemp("full") / "data")
    server.start()
    for start in range(0, MANY, _A_BATCH):
        some = range(start, start + _A_BATCH)
        items = (event(sessionId=f"run {n // 100}", hash=f"{n:016x}", duration=n) for n in some)
        assert server.request("POST", EVENTS, content=body(*items)).status_code == 200
    eventually(lambda: summed(server) == MANY, seconds=60)
    yield server
    server.kill()


def summed(server: Server) -> int:
    """How many events are counted."""
    answer = server.request("GET", "/v1/analytics/summary")
    return int(answer.json()["events"]) if answer.status_code == 200 else 0


def held(server: Server) -> list[str]:
    """What an export has open or left in its folder."""
    assert server.process is not None
    folder = server.data_dir / "exports"
    open_files = []
    for number in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            open_files.append(str(number.readlink()))
        except FileNotFoundError:
            continue
    return [name for name in open_files if str(folder) in name] + [
        str(path) for path in folder.rglob("*")
    ]


def parts(server: Server) -> list[Path]:
    """The files that stand in the folder of exports."""
    return [path for path in (server.data_dir / "exports").rglob("*") if path.is_file()]


@contextmanager
def stream(server: Server, form: str) -> Iterator[httpx.Response]:
    """An answer that is read bit by bit."""
    with httpx.stream(
        "GET",
        f"{server.url}/v1/export/events?format={form}",
        headers={"authorization": f"Bearer {server.token}"},
        timeout=60,
    ) as answer:
        yield answer


def rss_bytes(server: Server) -> int:
    """The memory of the server's process."""
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("form", FORMATS)
def test_export_of_many_chunks_has_every_event_once(full: Server, form: str) -> None:
    answer = full.request("GET", f"/v1/export/events?format={form}", timeout=120)
    ids = [row["id"] for row in READERS[form](answer.content)]
    assert len(ids) == len(set(ids)) == MANY
    assert ids == sorted(ids)
    eventually(lambda: held(full) == [])


def test_memory_is_bounded_for_fast_and_slow_clients(full: Server) -> None:
    before = highest = rss_bytes(full)
    for form in FORMATS:
        with stream(full, form) as answer:
            for _ in answer.iter_raw():
                highest = max(highest, rss_bytes(full))
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(full, "/v1/export/events")) for _ in range(4)]
        taken = 0
        while more := sum(reader.take(500_000) for reader in readers):
            highest = max(highest, rss_bytes(full))
            taken += more
    assert taken > 250_000_000
    assert highest - before < 120 * 2**20
    eventually(lambda: held(full) == [])


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_disconnect_during_the_body_leaves_no_files(full: Server, form: str) -> None:
    with Reader(full, f"/v1/export/events?format={form}") as reader:
        assert reader.status == 200
        assert any(name.endswith("(deleted)") for name in held(full))
        reader.take(1_000_000)
    eventually(lambda: held(full) == [])


def test_disconnect_before_the_body_stops_the_export(full: Server) -> None:
    with Asked(full, "/v1/export/events?format=parquet"):
        eventually(lambda: parts(full))
    eventually(lambda: held(full) == [])


def test_failure_during_the_body_aborts_the_connection(full: Server) -> None:
    with Reader(full, "/v1/export/events") as reader:
        remove_folders(full)
        assert not reader.rest().endswith(END)
    eventually(lambda: "export aborted" in full.log)
    with pytest.raises(httpx.RemoteProtocolError), stream(full, "csv") as answer:
        for _ in answer.iter_raw():
            remove_folders(full)
    with Reader(full, "/v1/export/runs") as reader:
        assert reader.rest().endswith(END)
    eventually(lambda: held(full) == [])


def remove_folders(server: Server) -> None:
    """Nothing more can be written then."""
    for folder in (server.data_dir / "exports").iterdir():
        shutil.rmtree(folder)


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
        eventually(lambda: summed(server) == 100_000, seconds=60)
        with Reader(server, "/v1/export/events") as reader:
            assert reader.status == 200
            eventually(lambda: list((tmp_path / "data" / "exports").iterdir()) == [])
            assert not reader.rest().endswith(END)


def test_fifth_concurrent_export_of_a_team_is_rate_limited(full: Server) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            assert stack.enter_context(Reader(full, "/v1/export/events")).status == 200
        answer = full.request("GET", "/v1/export/runs")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 0
    eventually(lambda: full.request("GET", "/v1/export/runs").status_code == 200)


def test_server_stop_aborts_running_exports(full: Server) -> None:
    with Reader(full, "/v1/export/events") as reader:
        started = time.monotonic()
        assert full.stop() == 0
        assert time.monotonic() - started < 10
        assert not reader.rest().endswith(END)
    assert list((full.data_dir / "exports").iterdir()) == []
    full.start()


def test_server_start_removes_files_of_a_killed_server(full: Server) -> None:
    eventually(lambda: summed(full) == MANY)
    with Asked(full, "/v1/export/events?format=parquet"):
        eventually(lambda: parts(full))
        full.kill()
    assert parts(full)
    full.start()
    assert held(full) == []
