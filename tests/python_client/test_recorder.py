"""The Recorder: batches, outages, kills, threads, and the correctness of its counts."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from hitrate.client import BadRequest, Counts, Hitrate, Recorder, recorder
from tests.support.server import Server, eventually
from tests.support.strict_fake import Disconnect, ErrorResponse, Stall, StrictFake

EVENTS_PER_THREAD = 200


@pytest.fixture
def client(fake: StrictFake) -> Iterator[Hitrate]:
    with client_of(fake) as client:
        yield client


def client_of(server: Server | StrictFake) -> Hitrate:
    return Hitrate(server.token, server_url=server.url)


def batches(fake: StrictFake) -> list[list[dict[str, Any]]]:
    return [json.loads(request.body) for request in fake.requests]


def hashes(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(event["hash"] for event in events)


def record_hits(r: Recorder, *names: int) -> None:
    prefix = "-".join(map(str, names))
    for index in range(EVENTS_PER_THREAD):
        r.hit(f"{prefix}-{index}", index)


def wait_until_sent(r: Recorder, more_than: int) -> None:
    eventually(lambda: r.counts.sent > more_than)


def recorded_hashes(server: Server, recorder: Recorder, count: int) -> Counter[str]:
    eventually(lambda: len(server.events(sessionId=recorder.session_id)) >= count, 60)
    return hashes(server.events(sessionId=recorder.session_id))


def test_hits_and_misses_are_sent_as_contract_events(fake: StrictFake, client: Hitrate) -> None:
    with Recorder(client, session_id="s") as r:
        r.hit("a", 400, source="LOCAL")
        r.hit("b", 0.5)
        r.hit("c")
        r.miss("d")
        r.miss("e", source="LOCAL")
    assert fake.events == [
        {"sessionId": "s", "source": "LOCAL", "event": "HIT", "hash": "a", "duration": 400},
        {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "b", "duration": 0.5},
        {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "c"},
        {"sessionId": "s", "source": "REMOTE", "event": "MISS", "hash": "d"},
        {"sessionId": "s", "source": "LOCAL", "event": "MISS", "hash": "e"},
    ]
    assert r.counts == Counts(sent=5, dropped=0, unknown=0, pending=0)


def test_events_are_sent_in_order_in_batches_of_at_most_100(
    fake: StrictFake, client: Hitrate
) -> None:
    with Recorder(client) as r:
        for index in range(1234):
            r.miss(str(index))
    assert [event["hash"] for event in fake.events] == [str(index) for index in range(1234)]
    assert max(len(batch) for batch in batches(fake)) == 100
    assert len(fake.requests) <= 14


def test_incomplete_batches_are_sent_without_further_events(
    fake: StrictFake, client: Hitrate
) -> None:
    with Recorder(client) as r:
        r.miss("a")
        eventually(lambda: r.counts.sent == 1)
        assert hashes(fake.events) == {"a": 1}
        r.miss("b")
        eventually(lambda: r.counts.sent == 2)


def test_recorder_without_events_sends_nothing(fake: StrictFake, client: Hitrate) -> None:
    with Recorder(client):
        pass
    assert fake.requests == []


def test_recorder_sends_ci_interactivity_and_agent(
    fake: StrictFake, client: Hitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("AI_AGENT", "some-agent")
    with Recorder(client) as r:
        r.miss("a")
    [request] = fake.requests
    assert request.headers["x-artifact-client-ci"] == "GITHUB_ACTIONS"
    assert request.headers["x-artifact-client-interactive"] == "0"
    assert request.headers["x-ai-agent"] == "some-agent"


def test_session_id_comes_from_the_argument_or_the_environment(
    client: Hitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITRATE_SESSION", "build-1")
    assert Recorder(client).session_id == "build-1"
    assert Recorder(client, session_id="own").session_id == "own"
    monkeypatch.delenv("HITRATE_SESSION")
    assert Recorder(client).session_id != Recorder(client).session_id


@pytest.mark.parametrize(
    "arguments",
    [{"hash": 3}, {"hash": "a", "duration_ms": float("nan")}, {"hash": "a", "source": "MOON"},
     {"hash": "a", "duration_ms": "long"}, {"hash": "\ud800"}],
    ids=str,
)  # fmt: skip
def test_invalid_event_is_dropped_and_logged_but_never_raises(
    fake: StrictFake, client: Hitrate, arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Recorder(client) as r:
        r.hit(**arguments)
        r.miss("valid")
    assert r.counts == Counts(sent=1, dropped=1, unknown=0, pending=0)
    assert hashes(fake.events) == {"valid": 1}
    assert "request_body" in caplog.text


def test_equal_events_are_counted_each_time(fake: StrictFake, client: Hitrate) -> None:
    with Recorder(client) as r:
        for _ in range(500):
            r.hit("same", 5)
    assert r.counts.sent == 500
    assert hashes(fake.events) == {"same": 500}


def test_batch_without_a_response_is_re_sent_and_counted_once(
    fake: StrictFake, client: Hitrate
) -> None:
    fake.script(Disconnect(store=True), Disconnect(store=True))
    with Recorder(client) as r:
        for index in range(100):
            r.miss(str(index))
    assert len(fake.requests) == 3
    assert len({request.body for request in fake.requests}) == 1
    assert r.counts == Counts(sent=100, dropped=0, unknown=0, pending=0)
    assert hashes(fake.events).total() == 100


def test_unconfirmed_batch_is_not_re_sent_after_the_resend_window(
    fake: StrictFake, client: Hitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RESEND_WINDOW_S", -1)
    fake.script(Disconnect(store=True))
    with Recorder(client) as r:
        r.miss("a")
    assert len(fake.requests) == 1
    assert r.counts == Counts(sent=0, dropped=0, unknown=1, pending=0)


@pytest.mark.parametrize("status", [429, 503])
def test_batch_is_re_sent_after_a_temporary_rejection(
    fake: StrictFake, client: Hitrate, status: int
) -> None:
    fake.script(
        ErrorResponse(status, "later", headers={"retry-after": "0"}), ErrorResponse(status, "later")
    )
    with Recorder(client) as r:
        r.miss("a")
    assert r.counts == Counts(sent=1, dropped=0, unknown=0, pending=0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 501])
def test_permanently_rejected_batch_is_dropped_and_logged(
    fake: StrictFake, client: Hitrate, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    fake.script(ErrorResponse(status, "refused", message="not you"))
    with Recorder(client) as r:
        r.miss("a")
        eventually(lambda: r.counts.dropped)
        r.miss("b")
    assert r.counts == Counts(sent=1, dropped=1, unknown=0, pending=0)
    assert "not you" in caplog.text


def test_close_returns_after_its_timeout_if_the_server_hangs(
    fake: StrictFake, client: Hitrate, caplog: pytest.LogCaptureFixture
) -> None:
    fake.script(Stall())
    with Recorder(client, close_timeout=0.3) as r:
        for index in range(150):
            r.miss(str(index))
        eventually(lambda: fake.requests)
    assert r.counts == Counts(sent=0, dropped=50, unknown=100, pending=0)
    assert "50 dropped, 100 sent without a response" in caplog.text


def test_events_above_the_capacity_are_dropped_and_logged(
    fake: StrictFake, client: Hitrate, caplog: pytest.LogCaptureFixture
) -> None:
    fake.close()
    with Recorder(client, capacity=250, close_timeout=10) as r:
        for index in range(300):
            r.miss(str(index))
        assert r.counts == Counts(sent=0, dropped=50, unknown=0, pending=250)
        fake.open()
    assert r.counts == Counts(sent=250, dropped=50, unknown=0, pending=0)
    assert hashes(fake.events) == Counter(str(index) for index in range(250))
    assert "250 events are already waiting" in caplog.text


def test_rejected_event_does_not_drop_the_others_of_its_batch(
    shared_server: Server,
) -> None:
    with client_of(shared_server) as client, Recorder(client) as r:
        for index in range(90):
            r.miss(str(index))
        r.miss("long" * 1000)
    assert r.counts == Counts(sent=90, dropped=1, unknown=0, pending=0)
    assert recorded_hashes(shared_server, r, 90) == Counter(map(str, range(90)))


def test_unconfirmed_batch_does_not_wait_beyond_the_resend_window(
    fake: StrictFake, client: Hitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RESEND_WINDOW_S", 20)
    fake.script(Disconnect(store=True), ErrorResponse(503, "later", headers={"retry-after": "21"}))
    with Recorder(client) as r:
        r.miss("a")
        eventually(lambda: r.counts.unknown)
    assert len(fake.requests) == 2


def test_events_are_sent_if_the_server_returns_during_close(
    fake: StrictFake, client: Hitrate
) -> None:
    fake.close()
    r = Recorder(client, close_timeout=30)
    r.miss("a")
    opening = threading.Timer(1.5, fake.open)
    opening.start()
    r.close()
    opening.join()
    assert r.counts == Counts(sent=1, dropped=0, unknown=0, pending=0)


def test_closed_client_is_reported_without_waiting(
    client: Hitrate, caplog: pytest.LogCaptureFixture
) -> None:
    client.close()
    with Recorder(client, close_timeout=60) as r:
        r.miss("a")
    assert r.counts == Counts(sent=0, dropped=1, unknown=0, pending=0)
    assert "The client is closed" in caplog.text


@pytest.mark.parametrize(
    "settings", [{"close_timeout": float("inf")}, {"close_timeout": -1}, {"capacity": 0}], ids=str
)
def test_invalid_recorder_settings_raise_bad_request(
    client: Hitrate, settings: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        Recorder(client, **settings)


def test_events_after_close_are_dropped(client: Hitrate) -> None:
    r = Recorder(client)
    r.close()
    r.close()
    r.miss("late")
    assert r.counts == Counts(sent=0, dropped=1, unknown=0, pending=0)


def test_events_are_dropped_and_counted_if_an_outage_outlasts_the_build(
    fake: StrictFake, client: Hitrate, caplog: pytest.LogCaptureFixture
) -> None:
    fake.close()
    with Recorder(client, close_timeout=0.2) as r:
        for index in range(300):
            r.miss(str(index))
    assert r.counts == Counts(sent=0, dropped=300, unknown=0, pending=0)
    assert "300 dropped" in caplog.text
    fake.open()


def test_events_are_recorded_exactly_once_despite_repeated_server_kills(server: Server) -> None:
    expected: Counter[str] = Counter()
    with client_of(server) as client, Recorder(client, close_timeout=30) as r:
        for outage in range(3):
            threads = [
                threading.Thread(target=record_hits, args=(r, outage, number))
                for number in range(10)
            ]
            for thread in threads:
                thread.start()
            wait_until_sent(r, more_than=r.counts.sent)
            server.kill()
            for thread in threads:
                thread.join()
            server.start()
            expected.update(
                f"{outage}-{n}-{i}" for n in range(10) for i in range(EVENTS_PER_THREAD)
            )
    assert r.counts == Counts(sent=3 * 10 * EVENTS_PER_THREAD, dropped=0, unknown=0, pending=0)
    assert recorded_hashes(server, r, expected.total()) == expected


PROGRAM = """
import sys
from hitrate.client import Hitrate, Recorder

recorder = Recorder(Hitrate(), session_id=sys.argv[1])
for index in range(int(sys.argv[2])):
    recorder.hit(str(index), index)
"""


def start_program(server: Server, code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TURBO_API": server.url, "TURBO_TOKEN": server.token}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_all_events_are_sent_at_exit_without_close(shared_server: Server) -> None:
    _, errors = start_program(shared_server, PROGRAM, "unclosed", "250").communicate(timeout=30)
    assert errors == ""
    events = eventually(
        lambda: (
            len(shared_server.events(sessionId="unclosed")) == 250
            and shared_server.events(sessionId="unclosed")
        )
    )
    assert hashes(events or []) == Counter(map(str, range(250)))


KILLED = """
import sys, threading
from hitrate.client import Hitrate, Recorder

recorder = Recorder(Hitrate(), session_id=sys.argv[1], capacity=10**9)
index = 0
while True:
    for _ in range(50):
        recorder.hit(str(index), index)
        index += 1
    counts = recorder.counts
    print(counts.sent, index, flush=True)
    while recorder.counts.pending > 5000:
        threading.Event().wait(0.001)
"""


def test_events_counted_as_sent_are_recorded_after_the_program_is_killed(
    shared_server: Server,
) -> None:
    process = start_program(shared_server, KILLED, "killed")
    assert process.stdout is not None
    sent, put = 0, 0
    while sent < 2000:
        sent, put = map(int, process.stdout.readline().split())
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    for line in rest.splitlines():
        if len(counts := line.split()) == 2:
            sent, put = map(int, counts)

    events = eventually(
        lambda: len(found := shared_server.events(sessionId="killed")) >= sent and found
    )

    indexes = sorted(int(event["hash"]) for event in events or [])
    # No duplicates, no gaps, and at most one batch more than the last printed count.
    assert indexes == list(range(len(indexes)))
    assert sent <= len(indexes) <= put + 50


FORKED_CLIENT = """
import os, sys
from hitrate.client import Hitrate

client = Hitrate()
client.artifacts.upload("of-a-child", b"of a child" * 10_000)
client.artifacts.upload("of-the-parent", b"of the parent" * 10_000)
children = []
for _ in range(20):
    child = os.fork()
    name = "of-the-parent" if child else "of-a-child"
    content = client.artifacts.download(name).content
    assert content == name.replace("-", " ").encode() * 10_000, content[:20]
    if not child:
        os._exit(0)
    children.append(os.waitpid(child, 0)[1])
print(children)
"""


def test_forked_child_never_reads_responses_of_its_parent(shared_server: Server) -> None:
    output, errors = start_program(shared_server, FORKED_CLIENT).communicate(timeout=60)
    assert (output.strip(), errors) == (str([0] * 20), "")


FORKED = """
import os, sys
from hitrate.client import Hitrate, Recorder

with Recorder(Hitrate(), session_id=sys.argv[1]) as recorder:
    recorder.hit("before")
    child = os.fork()
    recorder.hit("child" if child == 0 else "parent")
    if child == 0:
        recorder.hit("child again")
        print(recorder.counts.dropped, flush=True)
        sys.exit()
    os.waitpid(child, 0)
print(recorder.counts.sent)
"""


def test_forked_child_sends_no_events_of_its_parent(shared_server: Server) -> None:
    output, errors = start_program(shared_server, FORKED, "forked").communicate(timeout=30)
    assert output.split() == ["2", "2"]
    assert "forked process" in errors
    events = eventually(lambda: shared_server.events(sessionId="forked"))
    assert hashes(events) == {"before": 1, "parent": 1}
