"""What is metered is what passed: held against the count of a proxy, through kills and hang-ups.

A request is counted before its answer goes out. So whatever a client has seen of an answer is
counted; what was counted and not seen was in flight when its server was killed, or stood in
buffers when its client hung up.
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
from tests.support.counting_proxy import CountingProxy, Exchange
from tests.support.raw_http import (
    CONNECTION_ERRORS,
    EVENTS_PATH,
    TIMEOUT_S,
    RawHttpClient,
    SampleArtifact,
    StreamedRequest,
    artifact_path,
    make_artifact,
)
from tests.support.server import Server, eventually

SEED = 20261122
CLIENTS = 8
KILLS = 5
ROUND_S = 0.8

BUFFERED_BYTES = 24 * 2**20
"""Most that is metered of a download beyond what its client took, when it goes away: what the
server has handed to granian and to the kernel's send buffer. 6.8 MB were seen, whatever the
artifact's size, and 15.2 MB where every program waited for a core; a client's own receive buffer
comes on top, and here it is small."""

_SIZES = ((1, 50_000), (300_000, 524_288), (524_289, 3_000_000))
_MOST_ARTIFACT = 4 * 2**20
_ARTIFACTS = "/v8/artifacts"


@dataclass
class Use:
    """What is metered."""

    requests: int = 0
    uploadedBytes: int = 0  # noqa: N815  # reason: the name in the API
    downloadedBytes: int = 0  # noqa: N815  # reason: the name in the API
    events: int = 0


class Team:
    """A team, and what its clients may do next: batches without an answer are sent again."""

    def __init__(self, slug: str, token: str) -> None:
        self.slug = slug
        self.token = token
        self.sizes: dict[str, int] = {}
        self.batches: dict[bytes, int] = {}
        self.unanswered: set[bytes] = set()


class Crowd:
    """Clients that do everything at random, until the `with` ends."""

    def __init__(
        self, port: int, teams: list[Team], seed: int, *, rough: bool, rounds: int | None = None
    ) -> None:
        """`rough` ones hang up; each does `rounds` things, or goes on."""
        self._port = port
        self._rough = rough
        self._rounds = rounds
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.done = 0
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
        self.may_go_on.set()
        for thread in self._threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def let_do(self, things: int) -> None:
        """Return when so many more things were done."""
        until = self.done + things
        eventually(lambda: self.done > until, 120)

    def _run(self, team: Team, number: int, dice: random.Random) -> None:
        try:
            actions = self._actions(team, number, dice)
            left = self._rounds
            while not self._stop.is_set() and left != 0:
                self.may_go_on.wait()
                http_client = http.client.HTTPConnection("127.0.0.1", self._port, TIMEOUT_S)
                try:
                    while not self._stop.is_set() and left != 0:
                        left = None if left is None else left - 1
                        next(actions)(http_client)
                        self.done += 1
                except CONNECTION_ERRORS:
                    pass
                finally:
                    http_client.close()
        except BaseException as failure:
            self._failures.append(failure)

    def _actions(
        self, team: Team, number: int, dice: random.Random
    ) -> Iterator[Callable[[http.client.HTTPConnection], None]]:
        calm = [self._upload, self._download, self._batch, self._resend, self._ask, self._odd]
        weights = [5, 6, 4, 2, 4, 2]
        actions = [*calm, self._hang_up] if self._rough else calm
        while True:
            [action] = dice.choices(actions, [*weights, 2][: len(actions)])

            def act(
                connection: http.client.HTTPConnection, action: Callable[..., None] = action
            ) -> None:
                action(connection, team, number, dice)

            yield act

    def _say(
        self,
        connection: http.client.HTTPConnection,
        team: Team,
        method: str,
        path: str,
        body: Any = None,
        **headers: str,
    ) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"authorization": f"Bearer {team.token}", **named})
        return connection.getresponse()

    def _upload(self, connection: Any, team: Team, number: int, dice: random.Random) -> None:
        size = dice.randint(*dice.choices(_SIZES, (5, 2, 2))[0])
        artifact = make_artifact(f"c{number}x{dice.randrange(25)}", dice.randrange(10**6), size)
        body: Any = artifact.body
        if dice.random() < 0.4:
            step = dice.choice((10_000, 200_000))
            body = (artifact.body[at : at + step] for at in range(0, size, step))
        self._say(connection, team, "PUT", artifact.path, body).read()
        team.sizes[artifact.hash] = size

    def _some_hash(self, team: Team, dice: random.Random) -> str:
        known = list(team.sizes)
        return dice.choice(known) if known and dice.random() < 0.85 else f"absent{dice.random()}"

    def _download(self, connection: Any, team: Team, _: int, dice: random.Random) -> None:
        self._say(connection, team, "GET", artifact_path(self._some_hash(team, dice))).read()

    def _batch(self, connection: Any, team: Team, _: int, dice: random.Random) -> None:
        session = f"{dice.getrandbits(128):032x}"
        events = [
            {"sessionId": session, "source": "REMOTE", "event": "HIT", "hash": f"h{n}"}
            for n in range(dice.randint(0, 30))
        ]
        body = json.dumps(events).encode()
        team.batches[body] = len(events)
        self._post(connection, team, body)

    def _resend(self, connection: Any, team: Team, _: int, dice: random.Random) -> None:
        known = list(team.unanswered) or list(team.batches)[-8:]
        if known:
            self._post(connection, team, dice.choice(known))

    def _post(self, connection: Any, team: Team, body: bytes) -> None:
        team.unanswered.add(body)
        self._say(
            connection, team, "POST", EVENTS_PATH, body, content_type="application/json"
        ).read()
        team.unanswered.discard(body)

    def _ask(self, connection: Any, team: Team, _: int, dice: random.Random) -> None:
        kind = dice.randrange(5)
        if kind < 2:
            path = artifact_path(self._some_hash(team, dice))
            self._say(connection, team, "HEAD", path).read()
        elif kind == 2:
            hashes = [self._some_hash(team, dice) for _ in range(dice.randrange(9))]
            body = json.dumps({"hashes": hashes}).encode()
            self._say(connection, team, "POST", _ARTIFACTS, body).read()
        elif kind == 3:
            self._say(connection, team, "GET", f"{_ARTIFACTS}/status").read()
        elif dice.random() < 0.15:
            self._say(connection, team, "DELETE", _ARTIFACTS).read()

    def _odd(self, connection: Any, team: Team, _: int, dice: random.Random) -> None:
        """What is refused, or is none of the contract: free."""
        kind = dice.randrange(7)
        if kind == 0:
            self._post(connection, team, b'[{"sessionId": 5}]')
        elif kind == 1:
            self._say(connection, team, "POST", _ARTIFACTS, b"no JSON").read()
        elif kind == 2:
            self._say(connection, team, "PUT", artifact_path("bad"), b"x", x_artifact_duration="y")
            connection.close()
        elif kind == 3:
            self._post(connection, team, b"x" * 70_000)
            connection.close()
        elif kind == 4:
            self._say(connection, team, "OPTIONS", artifact_path("any")).read()
        elif kind == 5:
            self._say(connection, team, "GET", "/v8/elsewhere").read()
        else:
            self._say(connection, team, "PATCH", _ARTIFACTS).read()

    def _hang_up(self, connection: Any, team: Team, number: int, dice: random.Random) -> None:
        large = [h for h, size in team.sizes.items() if size > 600_000]
        if large and dice.random() < 0.7:
            self._say(connection, team, "GET", artifact_path(dice.choice(large))).read(100_000)
        else:  # an upload of which half comes
            connection.putrequest("PUT", artifact_path(f"c{number}half"))
            connection.putheader("authorization", f"Bearer {team.token}")
            connection.putheader("content-length", "500000")
            connection.endheaders(b"x" * 200_000)
        connection.close()


class Count:
    """What the proxy saw of one team, by the definition of what counts."""

    def __init__(self, exchanges: list[Exchange], team: Team) -> None:
        self.seen, self.doubtful = Use(), Use()
        self.statuses: Counter[int | None] = Counter()
        self.cut = 0
        sizes = {_digest(body): count for body, count in team.batches.items()}
        kept: set[str] = set()
        doubtful: set[str] = set()
        for one in exchanges:
            if one.authorization != f"Bearer {team.token}":
                continue
            self.statuses[one.status] += 1
            if not _counts(one):
                continue
            if one.status is None:
                self._count_doubtful(one)
                doubtful.add(one.asked_digest)
                continue
            self.seen.requests += 1
            if one.method == "PUT":
                self.seen.uploadedBytes += one.asked_bytes
            if one.method == "GET" and one.status == 200:
                self.seen.downloadedBytes += one.answered_bytes
                if not one.answered_whole:
                    self.cut += 1
                    left = one.announced_bytes - one.answered_bytes
                    self.doubtful.downloadedBytes += min(left, BUFFERED_BYTES)
            if one.path == EVENTS_PATH:
                kept.add(one.asked_digest)
        self.seen.events = sum(sizes.get(digest, 0) for digest in kept)
        self.doubtful.events = sum(sizes.get(digest, 0) for digest in doubtful - kept)
        self.resent = sum(sizes.get(digest, 0) for digest in doubtful & kept)
        """Of batches that a kill met, and that were then sent again."""

    def _count_doubtful(self, one: Exchange) -> None:
        """It was in flight: nobody knows whether it was counted."""
        if one.asked_whole:
            self.doubtful.requests += 1
            if one.method == "PUT":
                self.doubtful.uploadedBytes += one.asked_bytes
            if one.method == "GET":
                self.doubtful.downloadedBytes += _MOST_ARTIFACT

    def assert_met_by(self, metered: Use) -> None:
        for one in fields(Use):
            seen, doubtful = getattr(self.seen, one.name), getattr(self.doubtful, one.name)
            value = getattr(metered, one.name)
            assert seen <= value <= seen + doubtful, (one.name, seen, value, doubtful)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _counts(one: Exchange) -> bool:
    of_contract = one.path == _ARTIFACTS or one.path.startswith(f"{_ARTIFACTS}/")
    free = one.path == f"{_ARTIFACTS}/status" or one.method in ("OPTIONS", "PATCH")
    answered = one.status is None or one.status < 300 or one.status == 404
    return of_contract and not free and answered


def metered(server: Server, team: Team) -> Use:
    """What the server says; once it has taken over all events, so that resent ones are dropped."""
    with RawHttpClient(server) as client:
        eventually(lambda: client.pending_segments() == 0, 120)
    answer = server.request("GET", f"/v1/teams/{team.slug}/usage", token=team.token)
    assert answer.status_code == 200, answer.text
    return _use(answer.json())


def told_by_command(server: Server, team: Team) -> Use:
    return _use(json.loads(server.command("team", "usage", team.slug, "--json")))


def _use(usage: dict[str, Any]) -> Use:
    used = usage["current"]["used"]
    return Use(**{one.name: used[one.name] for one in fields(Use)})


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """With limits that are low enough to be met."""
    return start_server("--max-body-bytes", "64KiB", "--max-artifact-bytes", str(_MOST_ARTIFACT))


@pytest.fixture
def teams(server: Server) -> list[Team]:
    """Two of them."""
    server.command("team", "create", "theirs")
    return [Team("default", server.token), Team("theirs", server.create_token(team="theirs"))]


def test_without_kills_and_hang_ups_metering_equals_what_passed_exactly(
    server: Server, teams: list[Team], capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        CountingProxy(server.port) as proxy,
        Crowd(proxy.port, teams, SEED, rough=False, rounds=100),
    ):
        pass
    for team in teams:
        count, told = Count(proxy.exchanges, team), metered(server, team)
        with capsys.disabled():
            print(f"\n{team.slug}: proxy {count.seen}\n{' ' * len(team.slug)} metered {told}")
            print(f"  answers {dict(count.statuses)}")
        assert count.statuses[None] == count.cut == count.statuses[500] == 0
        assert told == count.seen
        assert told == told_by_command(server, team)
        assert min(count.statuses[s] for s in (200, 202, 404, 400, 413)) > 0


@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGKILL, KILLS), (signal.SIGTERM, 2)], ids=["kill", "stop"]
)
def test_through_kills_and_hang_ups_no_seen_byte_is_missing_and_none_is_metered_that_never_was(
    server: Server,
    teams: list[Team],
    number: signal.Signals,
    times: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dice = random.Random(SEED)
    with CountingProxy(server.port) as proxy, Crowd(proxy.port, teams, SEED, rough=True) as crowd:
        for _ in range(times):
            crowd.let_do(80)
            threading.Event().wait(dice.uniform(0, ROUND_S))
            crowd.may_go_on.clear()
            if number == signal.SIGKILL:
                server.kill()
            else:
                assert server.stop() == 0
            server.start()
            crowd.may_go_on.set()
        crowd.let_do(80)
    for team in teams:
        count, told = Count(proxy.exchanges, team), metered(server, team)
        with capsys.disabled():
            print(f"\n{team.slug}: proxy {count.seen}, {times} x {number.name}")
            print(f"  metered {told}")
            print(f"  in flight or buffered: {count.doubtful}, {count.cut} downloads cut")
            print(f"  {count.resent} events sent again after a kill had met them")
            print(f"  answers {dict(count.statuses)}")
        count.assert_met_by(told)
        server.kill()
        assert told == told_by_command(server, team)
        server.start()


class Downloads:
    """Counts what one more request has been metered for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._team = Team(server.team, server.token)
        self._before = metered(server, self._team)

    def so_far(self) -> int:
        return metered(self._server, self._team).downloadedBytes - self._before.downloadedBytes


def settled(look: Callable[[], int]) -> int:
    """What `look` says once it has said it for a while."""
    seen: list[int] = []

    def same() -> bool:
        seen.append(look())
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    eventually(same)
    return seen[-1]


def take_some(server: Server, artifact: SampleArtifact, how: str) -> tuple[int, int]:
    """Take a MiB of an artifact, and go away; what was taken and what is metered for it."""
    downloads, taken = Downloads(server), 0
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(TIMEOUT_S)
        client.connect(("127.0.0.1", server.port))
        head = f"GET {artifact.path} HTTP/1.1\r\nhost: x\r\n"
        client.sendall(f"{head}authorization: Bearer {server.token}\r\n\r\n".encode())
        while taken < 2**20:
            taken += len(client.recv(65536))
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how != "stall":
            client.close()
        return taken, settled(downloads.so_far)


def test_of_a_large_artifact_that_is_given_up_early_little_more_is_metered_than_was_taken(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server, artifact = start_server(), make_artifact("big", 1, 128 * 2**20)
    with RawHttpClient(server) as client:
        assert client.put(artifact).status == 202
    for how in ("close", "reset", "stall"):
        taken, told = take_some(server, artifact, how)
        with capsys.disabled():
            print(f"\n{how}: {taken} of {len(artifact.body)} bytes taken, {told} metered")
        assert taken - 1000 <= told <= taken + BUFFERED_BYTES
        assert told < len(artifact.body) / 4


def test_an_upload_whose_client_is_gone_counts_exactly_if_it_is_stored(server: Server) -> None:
    sizes = {f"gone{n}": 1 + n * 40_000 for n in range(24)}
    for number, (name, size) in enumerate(sizes.items()):
        artifact: SampleArtifact = make_artifact(name, 1, size)
        with StreamedRequest(server, "PUT", artifact.path, content_length=size) as upload:
            upload.send(artifact.body)
            if number % 2:
                upload.reset()
    team = Team(server.team, server.token)

    def stored() -> int:
        body = json.dumps({"hashes": list(sizes)}).encode()
        with RawHttpClient(server) as client:
            found = json.loads(client.request("POST", _ARTIFACTS, body).body)
        return sum(one["size"] for one in found.values() if one)

    kept = settled(stored)
    assert kept >= sum(list(sizes.values())[::2]) / 2, "nearly nothing was stored"
    assert metered(server, team).uploadedBytes == kept


def test_uploads_that_stop_in_the_middle_are_free(server: Server) -> None:
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
    team = Team(server.team, server.token)
    assert settled(lambda: metered(server, team).requests) == 0
    assert metered(server, team) == Use()


def spool_as_a_killed_server_did(server: Server, body: bytes) -> None:
    """Stop, and leave a batch that is on disk but whose client has no answer: nobody counted it."""
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


def test_a_batch_that_a_kill_left_uncounted_counts_once_when_it_is_sent_again(
    server: Server,
) -> None:
    events = [
        {"sessionId": "s", "source": "LOCAL", "event": "HIT", "hash": f"h{n}"} for n in range(9)
    ]
    body = json.dumps(events).encode()
    spool_as_a_killed_server_did(server, body)
    server.start()
    with RawHttpClient(server) as client:
        assert client.post_events(body).status == 200
        told = metered(server, Team(server.team, server.token))
        assert len(eventually(client.events)) == 9
    assert told.events == 9
