"""SIGTERM: what is in flight is finished, nothing new is taken, and the end comes soon."""

import json
import signal
import socket
import time
from functools import partial

import pytest

from tests.conftest import StartServer
from tests.support.load_generator import Ledger, Load
from tests.support.raw_http import EVENTS, Client, Pieces, assert_whole, make_artifact
from tests.support.server import Server, eventually

SEED = 20261123
MOST_S = 10.0
BODY = json.dumps(
    [{"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "h", "duration": 7}]
).encode()


def terminate(server: Server) -> float:
    """Send SIGTERM; when that was."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    return time.monotonic()


def exit_code(server: Server) -> int:
    """How the server ended; waits for it."""
    assert server.process is not None
    code = server.process.wait(MOST_S)
    server.process = None
    return code


def acknowledged_batches(ledger: Ledger, at_least: int) -> bool:
    """Whether so many batches were acknowledged."""
    return sum(batch.acknowledged for batch in ledger.batches) >= at_least


def takes_connections(server: Server) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 1).close()
    except ConnectionError:
        return False
    return True


def test_uploads_and_events_in_flight_are_finished_and_nothing_new_is_taken(server: Server) -> None:
    artifact = make_artifact("slow", 1, 5_000_000)
    headers = {name.replace("-", "_"): value for name, value in artifact.headers.items()}
    half = len(artifact.body) // 2
    length = {"content_length": len(artifact.body)}
    with (
        Pieces(server, "PUT", artifact.path, **headers, **length) as upload,
        Pieces(server, "POST", EVENTS, content_length=len(BODY)) as batch,
    ):
        upload.send(artifact.body[:half])
        batch.send(BODY[:20])
        eventually(lambda: list((server.data_dir / "artifacts").glob("*/*/*")))
        terminate(server)
        eventually(lambda: not takes_connections(server))
        batch.send(BODY[20:])
        upload.send(artifact.body[half:])
        assert upload.answer().status == 202
        assert batch.answer().status == 200
    assert exit_code(server) == 0
    server.start()
    with Client(server) as client:
        assert assert_whole(client.get("slow")) == 1
        [event] = eventually(client.events)
    assert (event["sessionId"], event["duration"]) == ("s", 7)


def test_clients_that_never_finish_do_not_keep_the_server_from_ending(server: Server) -> None:
    with (
        Pieces(server, "PUT", "/v8/artifacts/stuck", content_length=3_500_000) as upload,
        Pieces(server, "PUT", "/v8/artifacts/stuck", transfer_encoding="chunked") as chunked,
        Pieces(server, "POST", EVENTS, content_length=len(BODY)) as batch,
        socket.create_connection(("127.0.0.1", server.port), MOST_S) as silent,
    ):
        silent.send(b"GET /v8/art")
        upload.send(b"x" * 3_000_000)
        chunked.send_chunk(b"x" * 3_000_000)
        batch.send(BODY[:20])
        files = server.data_dir / "artifacts"
        eventually(lambda: len(list(files.glob("*/*/*"))) == 2)
        started = terminate(server)
        assert exit_code(server) == 0
        assert time.monotonic() - started < MOST_S
    assert list(files.glob("*/*/*")) == []
    server.start()
    with Client(server) as client:
        assert client.get("stuck").status == 404
        assert client.events() == []


def test_an_idle_connection_does_not_delay_the_end(server: Server) -> None:
    with Client(server) as idle:
        assert idle.request("GET", "/v8/artifacts/status").status == 200
        started = terminate(server)
        assert exit_code(server) == 0
        assert time.monotonic() - started < MOST_S / 4


def test_a_stop_under_load_loses_and_doubles_nothing_that_was_acknowledged(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger()
    server = start_server()
    for number in range(3):
        if number:
            server.start()
        with Load(server, ledger, SEED + number):
            eventually(partial(acknowledged_batches, ledger, at_least=100 * (number + 1)))
            started = terminate(server)
            assert exit_code(server) == 0
            assert time.monotonic() - started < MOST_S
    assert {answer.status for answer in ledger.refused} <= {503}
    server.start()
    with Client(server) as client:
        eventually(lambda: client.waiting_segments() == 0)
        events = ledger.count_events(client.events())
        artifacts = ledger.assert_artifacts(client)
    with capsys.disabled():
        print(
            f"\n{events.acknowledged} events acknowledged, {events.recorded} recorded, "
            f"{events.lost} lost, {events.doubled} doubled; {artifacts} artifacts whole; "
            f"{len(ledger.refused)} requests refused while stopping"
        )
    events.assert_exact()
