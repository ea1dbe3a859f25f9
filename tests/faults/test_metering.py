"""Metering equals the traffic that a proxy counts, through kills and closed connections.

A request is metered before its response is sent, so everything that a client has received is
metered. What is metered but was not received was in flight when the server was killed, or in
buffers when the client disconnected.
"""

import hashlib
import http.client
import json
import random
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, Self

import pytest

from hitrate.clock import Clock
from hitrate.events import wire
from tests.conftest import StartServer
from tests.support.counting_proxy import CountedExchange, CountingProxy
from tests.support.raw_http import (
    CONNECTION_ERRORS,
    EVENTS_PATH,
    TIMEOUT_S,
    RawHttpClient,
    SampleArtifact,
    StreamedRequest,
    artifact_path,
    create_artifact,
)
from tests.support.server import Server, eventually

SEED = 20261122
CLIENTS = 8
KILLS = 5
MAX_KILL_DELAY_S = 0.8

MAX_BUFFERED_BYTES = 24 * 2**20
"""Maximum metered bytes of an aborted download that the client did not receive: the buffers of
granian and of the kernel. Measured: 6.8 MB, independent of the artifact's size, and 15.2 MB on a
busy machine. A client's own receive buffer adds to it, and is small here."""

_SIZES = ((1, 50_000), (300_000, 524_288), (524_289, 3_000_000))
_MAX_ARTIFACT_BYTES = 4 * 2**20
_ARTIFACTS_PATH = "/v8/artifacts"


@dataclass
class MeteredUsage:
    """The metered measures of a team, except for stored bytes."""

    requests: int = 0
    uploadedBytes: int = 0  # noqa: N815  # reason: the name in the API
    downloadedBytes: int = 0  # noqa: N815  # reason: the name in the API
    events: int = 0


class TeamTraffic:
    """A team as its clients know it: artifact sizes, sent batches and unacknowledged batches."""

    def __init__(self, slug: str, token: str) -> None:
        self.slug = slug
        self.token = token
        self.sizes: dict[str, int] = {}
        self.batches: dict[bytes, int] = {}
        self.unacknowledged: set[bytes] = set()


class RandomClients:
    """Concurrent clients that send random requests while the `with` block runs."""

    def __init__(
        self,
        port: int,
        teams: list[TeamTraffic],
        seed: int,
        *,
        disconnect: bool,
        rounds: int | None = None,
    ) -> None:
        """With `disconnect`, clients also abort requests. With `rounds`, each sends so many."""
        self._port = port
        self._disconnect = disconnect
        self._rounds = rounds
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.resumed = threading.Event()
        self.resumed.set()
        self.request_count = 0
        self._threads = [
            threading.Thread(
                target=self._run, args=(teams[n % len(teams)], n, random.Random(f"{seed}/{n}"))
            )
            for n in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rounds is None:
            self._stop.set()
        self.resumed.set()
        for thread in self._threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def wait_for_requests(self, requests: int) -> None:
        """Wait until so many more requests were sent."""
        until = self.request_count + requests
        eventually(lambda: self.request_count > until, 120)

    def _run(self, team: TeamTraffic, number: int, rng: random.Random) -> None:
        try:
            actions = self._actions(team, number, rng)
            remaining = self._rounds
            while not self._stop.is_set() and remaining != 0:
                self.resumed.wait()
                http_client = http.client.HTTPConnection("127.0.0.1", self._port, TIMEOUT_S)
                try:
                    while not self._stop.is_set() and remaining != 0:
                        remaining = None if remaining is None else remaining - 1
                        next(actions)(http_client)
                        self.request_count += 1
                except CONNECTION_ERRORS:
                    pass
                finally:
                    http_client.close()
        except BaseException as failure:
            self._failures.append(failure)

    def _actions(
        self, team: TeamTraffic, number: int, rng: random.Random
    ) -> Iterator[Callable[[http.client.HTTPConnection], None]]:
        regular = [
            self._upload,
            self._download,
            self._post_batch,
            self._resend_batch,
            self._query,
            self._send_unmetered,
        ]
        weights = [5, 6, 4, 2, 4, 2]
        actions = [*regular, self._abort] if self._disconnect else regular
        while True:
            [action] = rng.choices(actions, [*weights, 2][: len(actions)])

            def act(
                connection: http.client.HTTPConnection, action: Callable[..., None] = action
            ) -> None:
                action(connection, team, number, rng)

            yield act

    def _send(
        self,
        connection: http.client.HTTPConnection,
        team: TeamTraffic,
        method: str,
        path: str,
        body: Any = None,
        **headers: str,
    ) -> http.client.HTTPResponse:
        header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path, body, {"authorization": f"Bearer {team.token}", **header_fields}
        )
        return connection.getresponse()

    def _upload(self, connection: Any, team: TeamTraffic, number: int, rng: random.Random) -> None:
        size = rng.randint(*rng.choices(_SIZES, (5, 2, 2))[0])
        artifact = create_artifact(f"c{number}x{rng.randrange(25)}", rng.randrange(10**6), size)
        body: Any = artifact.body
        if rng.random() < 0.4:
            step = rng.choice((10_000, 200_000))
            body = (artifact.body[at : at + step] for at in range(0, size, step))
        self._send(connection, team, "PUT", artifact.path, body).read()
        team.sizes[artifact.hash] = size

    def _random_hash(self, team: TeamTraffic, rng: random.Random) -> str:
        candidates = list(team.sizes)
        return (
            rng.choice(candidates)
            if candidates and rng.random() < 0.85
            else f"absent{rng.random()}"
        )

    def _download(self, connection: Any, team: TeamTraffic, _: int, rng: random.Random) -> None:
        self._send(connection, team, "GET", artifact_path(self._random_hash(team, rng))).read()

    def _post_batch(self, connection: Any, team: TeamTraffic, _: int, rng: random.Random) -> None:
        session = f"{rng.getrandbits(128):032x}"
        events = [
            {"sessionId": session, "source": "REMOTE", "event": "HIT", "hash": f"h{n}"}
            for n in range(rng.randint(0, 30))
        ]
        body = json.dumps(events).encode()
        team.batches[body] = len(events)
        self._post_events(connection, team, body)

    def _resend_batch(self, connection: Any, team: TeamTraffic, _: int, rng: random.Random) -> None:
        candidates = list(team.unacknowledged) or list(team.batches)[-8:]
        if candidates:
            self._post_events(connection, team, rng.choice(candidates))

    def _post_events(self, connection: Any, team: TeamTraffic, body: bytes) -> None:
        team.unacknowledged.add(body)
        self._send(
            connection, team, "POST", EVENTS_PATH, body, content_type="application/json"
        ).read()
        team.unacknowledged.discard(body)

    def _query(self, connection: Any, team: TeamTraffic, _: int, rng: random.Random) -> None:
        kind = rng.randrange(5)
        if kind < 2:
            path = artifact_path(self._random_hash(team, rng))
            self._send(connection, team, "HEAD", path).read()
        elif kind == 2:
            hashes = [self._random_hash(team, rng) for _ in range(rng.randrange(9))]
            body = json.dumps({"hashes": hashes}).encode()
            self._send(connection, team, "POST", _ARTIFACTS_PATH, body).read()
        elif kind == 3:
            self._send(connection, team, "GET", f"{_ARTIFACTS_PATH}/status").read()
        elif rng.random() < 0.15:
            self._send(connection, team, "DELETE", _ARTIFACTS_PATH).read()

    def _send_unmetered(
        self, connection: Any, team: TeamTraffic, _: int, rng: random.Random
    ) -> None:
        """Send a request that is rejected or not part of the Remote Cache API: not metered."""
        kind = rng.randrange(7)
        if kind == 0:
            self._post_events(connection, team, b'[{"sessionId": 5}]')
        elif kind == 1:
            self._send(connection, team, "POST", _ARTIFACTS_PATH, b"no JSON").read()
        elif kind == 2:
            self._send(connection, team, "PUT", artifact_path("bad"), b"x", x_artifact_duration="y")
            connection.close()
        elif kind == 3:
            self._post_events(connection, team, b"x" * 70_000)
            connection.close()
        elif kind == 4:
            self._send(connection, team, "OPTIONS", artifact_path("any")).read()
        elif kind == 5:
            self._send(connection, team, "GET", "/v8/elsewhere").read()
        else:
            self._send(connection, team, "PATCH", _ARTIFACTS_PATH).read()

    def _abort(self, connection: Any, team: TeamTraffic, number: int, rng: random.Random) -> None:
        large = [h for h, size in team.sizes.items() if size > 600_000]
        if large and rng.random() < 0.7:
            self._send(connection, team, "GET", artifact_path(rng.choice(large))).read(100_000)
        else:  # an upload that stops halfway
            connection.putrequest("PUT", artifact_path(f"c{number}half"))
            connection.putheader("authorization", f"Bearer {team.token}")
            connection.putheader("content-length", "500000")
            connection.endheaders(b"x" * 200_000)
        connection.close()


class ProxyCount:
    """Usage of one team as the proxy counted it.

    `certain` is metered in any case. `uncertain` may be: it was in flight, or in buffers.
    """

    def __init__(self, exchanges: list[CountedExchange], team: TeamTraffic) -> None:
        self.certain, self.uncertain = MeteredUsage(), MeteredUsage()
        self.statuses: Counter[int | None] = Counter()
        self.aborted_downloads = 0
        sizes = {_digest(body): count for body, count in team.batches.items()}
        acknowledged: set[str] = set()
        uncertain: set[str] = set()
        for exchange in exchanges:
            if exchange.authorization != f"Bearer {team.token}":
                continue
            self.statuses[exchange.status] += 1
            if not _is_metered(exchange):
                continue
            if exchange.status is None:
                self._count_uncertain(exchange)
                uncertain.add(exchange.request_digest)
                continue
            self.certain.requests += 1
            if exchange.method == "PUT":
                self.certain.uploadedBytes += exchange.request_bytes
            if exchange.method == "GET" and exchange.status == 200:
                self.certain.downloadedBytes += exchange.response_bytes
                if not exchange.response_complete:
                    self.aborted_downloads += 1
                    remaining = exchange.content_length - exchange.response_bytes
                    self.uncertain.downloadedBytes += min(remaining, MAX_BUFFERED_BYTES)
            if exchange.path == EVENTS_PATH:
                acknowledged.add(exchange.request_digest)
        self.certain.events = sum(sizes.get(digest, 0) for digest in acknowledged)
        self.uncertain.events = sum(sizes.get(digest, 0) for digest in uncertain - acknowledged)
        self.resent_events = sum(sizes.get(digest, 0) for digest in uncertain & acknowledged)
        """Events of batches that were in flight during a kill and then sent again."""

    def _count_uncertain(self, exchange: CountedExchange) -> None:
        """Count a request in flight, which may or may not be metered."""
        if exchange.request_complete:
            self.uncertain.requests += 1
            if exchange.method == "PUT":
                self.uncertain.uploadedBytes += exchange.request_bytes
            if exchange.method == "GET":
                self.uncertain.downloadedBytes += _MAX_ARTIFACT_BYTES

    def assert_agrees(self, metered: MeteredUsage) -> None:
        for field in fields(MeteredUsage):
            certain, uncertain = (
                getattr(self.certain, field.name),
                getattr(self.uncertain, field.name),
            )
            value = getattr(metered, field.name)
            assert certain <= value <= certain + uncertain, (field.name, certain, value, uncertain)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _is_metered(exchange: CountedExchange) -> bool:
    """Return whether a request with this response is metered."""
    of_cache_api = exchange.path == _ARTIFACTS_PATH or exchange.path.startswith(
        f"{_ARTIFACTS_PATH}/"
    )
    exempt = exchange.path == f"{_ARTIFACTS_PATH}/status" or exchange.method in ("OPTIONS", "PATCH")
    successful = exchange.status is None or exchange.status < 300 or exchange.status == 404
    return of_cache_api and not exempt and successful


def metered_usage(server: Server, team: TeamTraffic) -> MeteredUsage:
    """Return what the server has metered, after it has loaded all events and found duplicates."""
    with RawHttpClient(server) as client:
        eventually(lambda: client.pending_segments() == 0, 120)
    response = server.request("GET", f"/v1/teams/{team.slug}/usage", token=team.token)
    assert response.status_code == 200, response.text
    return _parse_usage(response.json())


def command_usage(server: Server, team: TeamTraffic) -> MeteredUsage:
    return _parse_usage(json.loads(server.command("team", "usage", team.slug, "--json")))


def _parse_usage(usage: dict[str, Any]) -> MeteredUsage:
    used = usage["current"]["used"]
    return MeteredUsage(**{field.name: used[field.name] for field in fields(MeteredUsage)})


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A server with limits that the random requests exceed."""
    return start_server(
        "--max-body-bytes", "64KiB", "--max-artifact-bytes", str(_MAX_ARTIFACT_BYTES)
    )


@pytest.fixture
def teams(server: Server) -> list[TeamTraffic]:
    """Two teams."""
    server.command("team", "create", "theirs")
    return [
        TeamTraffic("default", server.token),
        TeamTraffic("theirs", server.create_token(team="theirs")),
    ]


def test_metering_equals_the_traffic_exactly_without_faults(
    server: Server, teams: list[TeamTraffic], capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        CountingProxy(server.port) as proxy,
        RandomClients(proxy.port, teams, SEED, disconnect=False, rounds=100),
    ):
        pass
    for team in teams:
        count, metered = ProxyCount(proxy.exchanges, team), metered_usage(server, team)
        with capsys.disabled():
            print(f"\n{team.slug}: proxy {count.certain}\n{' ' * len(team.slug)} metered {metered}")
            print(f"  responses {dict(count.statuses)}")
        assert count.statuses[None] == count.aborted_downloads == count.statuses[500] == 0
        assert metered == count.certain
        assert metered == command_usage(server, team)
        assert min(count.statuses[s] for s in (200, 202, 404, 400, 413)) > 0


@pytest.mark.parametrize(
    ("stop_signal", "times"), [(signal.SIGKILL, KILLS), (signal.SIGTERM, 2)], ids=["kill", "stop"]
)
def test_metering_agrees_with_the_traffic_through_kills_and_aborts(
    server: Server,
    teams: list[TeamTraffic],
    stop_signal: signal.Signals,
    times: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(SEED)
    with (
        CountingProxy(server.port) as proxy,
        RandomClients(proxy.port, teams, SEED, disconnect=True) as clients,
    ):
        for _ in range(times):
            clients.wait_for_requests(80)
            threading.Event().wait(rng.uniform(0, MAX_KILL_DELAY_S))
            clients.resumed.clear()
            if stop_signal == signal.SIGKILL:
                server.kill()
            else:
                assert server.stop() == 0
            server.start()
            clients.resumed.set()
        clients.wait_for_requests(80)
    for team in teams:
        count, metered = ProxyCount(proxy.exchanges, team), metered_usage(server, team)
        with capsys.disabled():
            print(f"\n{team.slug}: proxy {count.certain}, {times} x {stop_signal.name}")
            print(f"  metered {metered}")
            print(f"  in flight or buffered: {count.uncertain}")
            print(f"  {count.aborted_downloads} aborted downloads")
            print(f"  {count.resent_events} events resent after a kill")
            print(f"  responses {dict(count.statuses)}")
        count.assert_agrees(metered)
        server.kill()
        assert metered == command_usage(server, team)
        server.start()


class DownloadMeasurement:
    """Measures the downloaded bytes that are metered after its creation."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._team = TeamTraffic(server.team, server.token)
        self._before = metered_usage(server, self._team)

    def metered_bytes(self) -> int:
        return (
            metered_usage(self._server, self._team).downloadedBytes - self._before.downloadedBytes
        )


def stable_value(read: Callable[[], int]) -> int:
    """Return the value of `read` once it has been the same ten times."""
    values: list[int] = []

    def is_stable() -> bool:
        values.append(read())
        return len(values) > 10 and len(set(values[-10:])) == 1

    eventually(is_stable)
    return values[-1]


def download_partly(server: Server, artifact: SampleArtifact, ending: str) -> tuple[int, int]:
    """Download a MiB of an artifact, then stop. Return the received and the metered bytes."""
    measurement, received = DownloadMeasurement(server), 0
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(TIMEOUT_S)
        client.connect(("127.0.0.1", server.port))
        head = f"GET {artifact.path} HTTP/1.1\r\nhost: x\r\n"
        client.sendall(f"{head}authorization: Bearer {server.token}\r\n\r\n".encode())
        while received < 2**20:
            received += len(client.recv(65536))
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if ending != "stall":
            client.close()
        return received, stable_value(measurement.metered_bytes)


def test_aborted_download_meters_little_more_than_the_client_received(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server, artifact = start_server(), create_artifact("big", 1, 128 * 2**20)
    with RawHttpClient(server) as client:
        assert client.put(artifact).status == 202
    for ending in ("close", "reset", "stall"):
        received, metered = download_partly(server, artifact, ending)
        with capsys.disabled():
            print(
                f"\n{ending}: {received} of {len(artifact.body)} bytes received, {metered} metered"
            )
        assert received - 1000 <= metered <= received + MAX_BUFFERED_BYTES
        assert metered < len(artifact.body) / 4


def test_upload_of_a_disconnected_client_is_metered_if_and_only_if_stored(server: Server) -> None:
    sizes = {f"upload{n}": 1 + n * 40_000 for n in range(24)}
    for number, (name, size) in enumerate(sizes.items()):
        artifact: SampleArtifact = create_artifact(name, 1, size)
        with StreamedRequest(server, "PUT", artifact.path, content_length=size) as upload:
            upload.send(artifact.body)
            if number % 2:
                upload.reset()
    team = TeamTraffic(server.team, server.token)

    def stored() -> int:
        body = json.dumps({"hashes": list(sizes)}).encode()
        with RawHttpClient(server) as client:
            artifacts = json.loads(client.request("POST", _ARTIFACTS_PATH, body).body)
        return sum(artifact["size"] for artifact in artifacts.values() if artifact)

    stored_bytes = stable_value(stored)
    assert stored_bytes >= sum(list(sizes.values())[::2]) / 2, "almost nothing was stored"
    assert metered_usage(server, team).uploadedBytes == stored_bytes


def test_incomplete_uploads_are_not_metered(server: Server) -> None:
    for size in (1000, 3_000_000):
        with StreamedRequest(server, "PUT", artifact_path("half"), content_length=size) as upload:
            upload.send(b"x" * (size // 2))
            upload.end()
            with suppress(*CONNECTION_ERRORS):
                assert upload.response().status == 400
        with StreamedRequest(
            server, "PUT", artifact_path("half"), transfer_encoding="chunked"
        ) as upload:
            upload.send_chunk(b"x" * (size // 2))
            upload.reset()
    team = TeamTraffic(server.team, server.token)
    assert stable_value(lambda: metered_usage(server, team).requests) == 0
    assert metered_usage(server, team) == MeteredUsage()


def spool_unmetered_batch(server: Server, body: bytes) -> None:
    """Stop the server and leave a batch in its spool that was never metered, as a kill can."""
    [token] = json.loads(server.command("token", "list", "--json"))
    [team] = json.loads(server.command("team", "list", "--json"))
    assert server.stop() == 0
    now_ms = Clock().now_ms()
    events = wire.decode_events(body)
    batch = wire.Batch(
        team=team["id"], token=token["id"], received_at=now_ms, ci=None, interactive=None,
        agent=None, digest=wire.digest(body), events=events,
    )  # fmt: skip
    segment = server.data_dir / "spool" / f"{now_ms:013d}-0123abcd.ndjson"
    segment.write_bytes(wire.encode_batch(batch))


def test_batch_left_uncounted_by_a_kill_is_metered_once_when_resent(server: Server) -> None:
    events = [
        {"sessionId": "s", "source": "LOCAL", "event": "HIT", "hash": f"h{n}"} for n in range(9)
    ]
    body = json.dumps(events).encode()
    spool_unmetered_batch(server, body)
    server.start()
    with RawHttpClient(server) as client:
        assert client.post_events(body).status == 200
        metered = metered_usage(server, TeamTraffic(server.team, server.token))
        assert len(eventually(client.events)) == 9
    assert metered.events == 9
