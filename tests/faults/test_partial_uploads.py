"""Uploads that end half-way, lie about their size or meet one another leave whole bodies only."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.raw_http import EVENTS, Answer, Client, Pieces, assert_whole, make_artifact
from tests.support.server import Server, eventually

LIMIT_BYTES = 4_000_000
STREAMED = b"s" * 3_000_000
"""More than is held in memory, so it is written while it comes."""

PATH = "/v8/artifacts/half"
CHUNKED = {"transfer_encoding": "chunked"}


def artifact_files(server: Server) -> list[Path]:
    """All files of artifacts, whole or not."""
    return [path for path in (server.data_dir / "artifacts").rglob("*") if path.is_file()]


def assert_no_trace(server: Server) -> None:
    """No artifact, no file, and the server still answers."""
    eventually(lambda: artifact_files(server) == [])
    with Client(server) as client:
        assert client.get("half").status == 404


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """As the contract has it."""
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("announced", "sent"), [(10, b"abc"), (3_500_000, STREAMED)], ids=["small", "streamed"]
)
def test_a_body_shorter_than_its_content_length_is_a_400_and_leaves_no_trace(
    server: Server, announced: int, sent: bytes
) -> None:
    with Pieces(server, "PUT", PATH, content_length=announced) as upload:
        upload.send(sent)
        upload.end()
        assert_refused(upload.answer(), 400, "bad_request")
    assert_no_trace(server)


@pytest.mark.parametrize(
    "sent", [b"3\r\nabc\r\n", b"a\r\nabc", b"2dc6c0\r\n%b\r\n" % STREAMED, b""]
)
def test_a_chunked_body_without_its_end_is_a_400_and_leaves_no_trace(
    server: Server, sent: bytes
) -> None:
    with Pieces(server, "PUT", PATH, **CHUNKED) as upload:
        upload.send(sent)
        upload.end()
        assert_refused(upload.answer(), 400, "bad_request")
    assert_no_trace(server)


def test_a_chunk_whose_size_is_no_number_is_a_400_and_leaves_no_trace(server: Server) -> None:
    with Pieces(server, "PUT", PATH, **CHUNKED) as upload:
        upload.send_chunk(STREAMED)
        upload.send(b"zz\r\nabc\r\n")
        assert_refused(upload.answer(), 400, "bad_request")
    assert_no_trace(server)


def test_half_a_batch_of_events_is_a_400_and_records_nothing(server: Server) -> None:
    body = b'[{"sessionId":"s","source":"LOCAL","event":"HIT","hash":"h"}]'
    with Pieces(server, "POST", EVENTS, content_length=len(body) + 10) as batch:
        batch.send(body)
        batch.end()
        assert_refused(batch.answer(), 400, "bad_request")
    with Client(server) as client:
        assert client.events() == []


def test_a_content_length_above_the_limit_is_a_413_before_the_body_is_sent(
    start_server: StartServer,
) -> None:
    server = start_server("--max-artifact-bytes", str(LIMIT_BYTES))
    with Pieces(server, "PUT", PATH, content_length=LIMIT_BYTES + 1) as upload:
        assert_refused(upload.answer(), 413, "payload_too_large")
        assert upload.is_closed_by_server()
    assert_no_trace(server)


def test_a_chunked_body_is_a_413_as_soon_as_it_passes_the_limit(start_server: StartServer) -> None:
    server = start_server("--max-artifact-bytes", str(LIMIT_BYTES))
    with Pieces(server, "PUT", PATH, **CHUNKED) as upload:
        upload.send_chunk(b"x" * LIMIT_BYTES)
        eventually(lambda: artifact_files(server))
        upload.send_chunk(b"x")
        assert_refused(upload.answer(), 413, "payload_too_large")
        assert upload.is_closed_by_server()
    assert_no_trace(server)
    with Client(server) as client:
        assert client.put(make_artifact("half", 1, LIMIT_BYTES), 100_000).status == 202


@pytest.mark.parametrize(
    "headers", [{"content_length": 3_500_000}, CHUNKED], ids=["sized", "chunked"]
)
def test_a_client_that_crashes_half_way_leaves_no_file(
    server: Server, headers: dict[str, str | int]
) -> None:
    with ExitStack() as stack:
        uploads = [stack.enter_context(Pieces(server, "PUT", PATH, **headers)) for _ in range(8)]
        for upload in uploads:
            send = upload.send_chunk if headers is CHUNKED else upload.send
            send(STREAMED)
        eventually(lambda: len(artifact_files(server)) == len(uploads))
        for upload in uploads:
            upload.reset()
    assert_no_trace(server)


def test_half_an_upload_leaves_the_artifact_that_was_there_as_it_was(server: Server) -> None:
    with Client(server) as client:
        assert client.put(make_artifact("half", 1, 700_000)).status == 202
        with Pieces(server, "PUT", PATH, content_length=3_500_000, x_artifact_tag="new") as upload:
            upload.send(STREAMED)
            assert assert_whole(client.get("half")) == 1
            upload.end()
            assert_refused(upload.answer(), 400, "bad_request")
        assert assert_whole(client.get("half")) == 1
        eventually(lambda: len(artifact_files(server)) == 1)


def test_after_an_early_refusal_the_connection_serves_on_or_says_that_it_ends(
    server: Server,
) -> None:
    token = server.create_token("--read-only")
    for _ in range(30):
        with Client(server, token) as client:
            refused = client.put(make_artifact("half", 1, 300_000))
            assert_refused(refused, 403, "forbidden")
            if refused.headers.get("connection") != "close":
                assert client.request("GET", "/v8/artifacts/status").status == 200


@pytest.mark.parametrize("size_bytes", [20_000, 1_500_000])
def test_two_clients_that_upload_one_hash_are_seen_one_after_the_other_and_never_mixed(
    server: Server, size_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    uploaded = threading.Event()
    seen: Counter[int] = Counter()

    def upload(parity: int) -> None:
        with Client(server) as client:
            for n in range(60):
                artifact = make_artifact("both", 2 * n + parity, size_bytes + 97 * n + parity)
                assert client.put(artifact, 100_000 if n % 3 == 0 else None).status == 202

    def download(_: int) -> Counter[int]:
        versions: Counter[int] = Counter()
        with Client(server) as client:
            while not uploaded.is_set():
                versions[assert_whole(client.get("both"))] += 1
        return versions

    with Client(server) as client:
        assert client.put(make_artifact("both", 0, size_bytes)).status == 202
        with ThreadPoolExecutor(5) as pool:
            downloads = [pool.submit(download, n) for n in range(3)]
            uploads = [pool.submit(upload, parity) for parity in range(2)]
            try:
                for done in uploads:
                    done.result()
                eventually(lambda: assert_whole(client.get("both")) >= 118)
            finally:
                uploaded.set()
            for done_reading in downloads:
                seen += done_reading.result()
        assert assert_whole(client.get("both")) in (118, 119)
    with capsys.disabled():
        print(f"\n{seen.total()} downloads saw {len(seen)} of 120 versions, each of them whole")
    assert seen.total() >= 200
