"""SIGTERM: requests in flight are completed, new ones are refused, the server exits soon."""

import json
import signal
import socket
import time
from functools import partial

import pytest

from tests.conftest import StartServer
from tests.support.load_generator import ExpectedState, LoadGenerator
from tests.support.raw_http import (
    EVENTS_PATH,
    RawHttpClient,
    StreamedRequest,
    assert_intact,
    create_artifact,
)
from tests.support.server import Server, eventually

SEED = 20261123
MAX_SHUTDOWN_S = 10.0
BODY = json.dumps(
    [{"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "h", "duration": 7}]
).encode()


@pytest.fixture(autouse=True)
def _new_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start `python -m hitrate`, so that the exit is that of a user's server."""
    monkeypatch.setattr(Server, "new_interpreter", True)


def terminate(server: Server) -> float:
    """Send SIGTERM; return the monotonic time."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    return time.monotonic()


def exit_code(server: Server) -> int:
    """Wait for the server to exit; return its exit code."""
    assert server.process is not None
    code = server.process.wait(MAX_SHUTDOWN_S)
    server.process = None
    return code


def acknowledged_batches(expected: ExpectedState, min_count: int) -> bool:
    """Return whether at least so many batches were acknowledged."""
    return sum(batch.acknowledged for batch in expected.batches) >= min_count


def accepts_connections(server: Server) -> bool:
    """Return whether the server accepts TCP connections."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 1).close()
    except ConnectionError:
        return False
    return True


def test_requests_in_flight_are_completed_and_new_connections_refused(server: Server) -> None:
    artifact = create_artifact("slow", 1, 5_000_000)
    headers = {name.replace("-", "_"): value for name, value in artifact.headers.items()}
    middle = len(artifact.body) // 2
    length = {"content_length": len(artifact.body)}
    with (
        StreamedRequest(server, "PUT", artifact.path, **headers, **length) as upload,
        StreamedRequest(server, "POST", EVENTS_PATH, content_length=len(BODY)) as batch,
    ):
        upload.send(artifact.body[:middle])
        batch.send(BODY[:20])
        eventually(lambda: list((server.data_dir / "artifacts").glob("*/*/*")))
        terminate(server)
        eventually(lambda: not accepts_connections(server))
        batch.send(BODY[20:])
        upload.send(artifact.body[middle:])
        assert upload.response().status == 202
        assert batch.response().status == 200
    assert exit_code(server) == 0
    server.start()
    with RawHttpClient(server) as client:
        assert assert_intact(client.get("slow")) == 1
        [event] = eventually(client.events)
    assert (event["sessionId"], event["duration"]) == ("s", 7)


def test_stalled_clients_do_not_block_shutdown(server: Server) -> None:
    with (
        StreamedRequest(server, "PUT", "/v8/artifacts/stuck", content_length=3_500_000) as upload,
        StreamedRequest(
            server, "PUT", "/v8/artifacts/stuck", transfer_encoding="chunked"
        ) as chunked,
        StreamedRequest(server, "POST", EVENTS_PATH, content_length=len(BODY)) as batch,
        socket.create_connection(("127.0.0.1", server.port), MAX_SHUTDOWN_S) as silent,
    ):
        silent.send(b"GET /v8/art")
        upload.send(b"x" * 3_000_000)
        chunked.send_chunk(b"x" * 3_000_000)
        batch.send(BODY[:20])
        files = server.data_dir / "artifacts"
        eventually(lambda: len(list(files.glob("*/*/*"))) == 2)
        started = terminate(server)
        assert exit_code(server) == 0
        assert time.monotonic() - started < MAX_SHUTDOWN_S
    assert list(files.glob("*/*/*")) == []
    server.start()
    with RawHttpClient(server) as client:
        assert client.get("stuck").status == 404
        assert client.events() == []


def test_idle_connection_does_not_delay_shutdown(server: Server) -> None:
    with RawHttpClient(server) as idle:
        assert idle.request("GET", "/v8/artifacts/status").status == 200
        started = terminate(server)
        assert exit_code(server) == 0
        assert time.monotonic() - started < MAX_SHUTDOWN_S / 4


def test_shutdown_under_load_neither_loses_nor_duplicates_acknowledged_data(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ExpectedState()
    server = start_server()
    for number in range(3):
        if number:
            server.start()
        with LoadGenerator(server, expected, SEED + number):
            eventually(partial(acknowledged_batches, expected, min_count=100 * (number + 1)))
            started = terminate(server)
            assert exit_code(server) == 0
            assert time.monotonic() - started < MAX_SHUTDOWN_S
    assert {response.status for response in expected.rejected} <= {503}
    server.start()
    with RawHttpClient(server) as client:
        eventually(lambda: client.pending_segments() == 0)
        events = expected.count_events(client.events())
        artifacts = expected.assert_artifacts(client)
    with capsys.disabled():
        print(
            f"\n{events.acknowledged} events acknowledged, {events.recorded} recorded, "
            f"{events.lost} lost, {events.duplicated} duplicated; {artifacts} artifacts intact; "
            f"{len(expected.rejected)} requests rejected while stopping"
        )
    events.assert_exact()
