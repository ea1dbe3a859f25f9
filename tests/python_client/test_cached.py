"""Holds `cached` to doing the work whenever the cache cannot, and to never mistaking one work for
another."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hitrate.client import BadRequest, CachedRun, Hitrate, Outcome, Recorder, cached
from tests.support.sample_project import leftovers, snapshot
from tests.support.server import Server, eventually
from tests.support.strict_fake import (
    Answer,
    HangUp,
    Pass,
    Refuse,
    Stall,
    Step,
    StrictFake,
    Truncate,
)

PATIENCE_S = 0.3
VARIABLES = ("TURBO_API", "TURBO_TOKEN", "TURBO_TEAM", "TURBO_TEAMID", "HITRATE_SESSION",
             "TURBO_REMOTE_CACHE_SIGNATURE_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
             "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")  # fmt: skip


@pytest.fixture(autouse=True)
def environment(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TURBO_API", shared_server.url)
    monkeypatch.setenv("TURBO_TOKEN", shared_server.token)
    monkeypatch.setenv("TURBO_TEAM", shared_server.team)


@pytest.fixture
def root(tmp_path: Path, unique: str) -> Path:
    """A folder with one source, whose content makes every hash another than in other tests."""
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a").write_text(unique)
    return root


@pytest.fixture
def run(root: Path) -> Callable[..., CachedRun[Any]]:
    """`cached` there, with outputs in `dist`."""
    return functools.partial(cached, inputs=["src"], outputs=["dist"], root=root)


@pytest.fixture
def make(root: Path) -> Make:
    return Make(root)


class Make:
    """Work that makes `dist/a`, counts how often it did, and returns that number."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        (self.root / "dist").mkdir(exist_ok=True)
        (self.root / "dist" / "a").write_text("made")
        return self.runs


def test_a_function_gives_its_value_when_it_runs_and_none_when_it_need_not(
    run: Any, make: Make, root: Path
) -> None:
    miss, hit = run(make, key="x"), run(make, key="x")

    assert (miss.outcome, miss.value, miss.stored) == (Outcome.MISS, 1, True)
    assert (hit.outcome, hit.value, hit.stored) == (Outcome.HIT, None, False)
    assert (hit.hash, hit.files, hit.size_bytes) == (miss.hash, 1, miss.size_bytes)
    assert hit.duration_ms == int(miss.duration_ms)
    assert (miss.problem, hit.problem, make.runs) == (None, None, 1)
    assert (root / ".hitrate" / ".gitignore").read_text() == "*\n"
    assert leftovers(root) == set()


def test_an_exception_passes_and_nothing_is_stored(run: Any, make: Make, root: Path) -> None:
    def fail() -> None:
        make()
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            run(fail, key="x")

    assert make.runs == 2
    assert leftovers(root) == set()


def test_work_without_outputs_is_done_once(run: Any) -> None:
    assert [run(["true"], outputs=[]).outcome for _ in "ab"] == [Outcome.MISS, Outcome.HIT]


def test_another_thread_may_run_a_command(run: Any) -> None:
    runs: list[CachedRun[None]] = []
    thread = threading.Thread(target=lambda: runs.append(run(["mkdir", "dist"])))
    thread.start()
    thread.join()

    assert [one.stored for one in runs] == [True]


def test_what_was_made_of_changing_inputs_is_not_stored(
    run: Any, make: Make, root: Path, unique: str
) -> None:
    def change() -> None:
        make()
        (root / "src" / "a").write_text("changed meanwhile")

    for _ in range(2):
        (root / "src" / "a").write_text(unique)
        done = run(change, key="x")
        assert (done.outcome, done.stored) == (Outcome.MISS, False)
        assert "inputs changed" in done.problem


def test_what_makes_no_outputs_is_not_stored(run: Any) -> None:
    done = run(["true"])

    assert (done.outcome, done.stored, done.exit_code) == (Outcome.MISS, False, 0)
    assert "the output 'dist' does not exist" in done.problem


def plain() -> None: ...


def bound_by_default(value: str) -> Callable[[], str]:
    def work(value: str = value) -> str:
        return value

    return work


def enclosing(value: str) -> Callable[[], str]:
    def work() -> str:
        return value

    return work


class Builder:
    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self) -> str:
        return self.value

    def build(self) -> str:
        return self.value

    @classmethod
    def make(cls) -> str:
        return cls.__name__


class OtherBuilder(Builder): ...


@pytest.mark.parametrize(
    "work",
    [
        lambda: None,
        enclosing("x"),
        bound_by_default("x"),
        functools.partial(plain),
        functools.cache(plain),
        Builder("x"),
        Builder("x").build,
        OtherBuilder.make,
        threading.Lock().locked,
    ],
    ids=["lambda", "closure", "default", "partial", "wrapped", "object", "method", "class method",
         "builtin"],
)  # fmt: skip
def test_a_function_that_may_hide_something_needs_a_key(run: Any, root: Path, work: Any) -> None:
    with pytest.raises(BadRequest, match="key="):
        run(work, outputs=[])
    assert not (root / ".hitrate").exists()

    runs = [run(work, outputs=[], key=key).outcome for key in ("1", "2", "1")]

    assert runs == [Outcome.MISS, Outcome.MISS, Outcome.HIT]


def test_a_plain_function_needs_no_key(run: Any) -> None:
    assert [run(plain, outputs=[]).outcome for _ in "ab"] == [Outcome.MISS, Outcome.HIT]


def test_a_function_in_an_edited_file_is_another_one(run: Any, tmp_path: Path) -> None:
    outcomes = []
    for number, source in enumerate(["def work(): return 1", "def work(): return 2"] * 2):
        # A name of its own each: Python would keep what it compiled in the same second.
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "tasks.py").write_text(source)
        spec = importlib.util.spec_from_file_location("tasks", folder / "tasks.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        outcomes.append(run(module.work, outputs=[]).outcome)

    assert outcomes == [Outcome.MISS, Outcome.MISS, Outcome.HIT, Outcome.HIT]


def test_a_given_client_and_recorder_are_used_and_left_open(
    run: Any, make: Make, shared_server: Server, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with (
        Hitrate(shared_server.token, server_url=shared_server.url, slug="default") as client,
        Recorder(client, session_id=unique) as recorder,
    ):
        runs = [run(make, key="x", client=client, recorder=recorder) for _ in range(3)]
        assert client.artifacts.exists(runs[0].hash)
        eventually(lambda: recorder.counts == (3, 0, 0, 0))
        recorder.hit("mine", 5)
    assert recorder.counts == (4, 0, 0, 0)
    eventually(lambda: len(shared_server.events(sessionId=unique)) == 4)
    told = [(e["source"], e["event"], e["hash"]) for e in shared_server.events(sessionId=unique)]
    assert told[::-1] == [
        ("REMOTE", "MISS", runs[0].hash),
        ("REMOTE", "HIT", runs[0].hash),
        ("REMOTE", "HIT", runs[0].hash),
        ("REMOTE", "HIT", "mine"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"work": "make"},
        {"work": b"make"},
        {"work": []},
        {"work": None},
        {"work": ["make", 3]},
        {"work": ["a\0b"]},
        {"inputs": "src"},
        {"inputs": [3]},
        {"inputs": None},
        {"inputs": ["../src"]},
        {"outputs": "dist"},
        {"outputs": ["."]},
        {"env": "CC"},
        {"env": ["CC=gcc"]},
        {"env": [""]},
        {"key": 3},
        {"key": "\ud800"},
        {"root": "nowhere"},
        {"root": __file__},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_anything_is_done(
    run: Any, root: Path, wrong: dict[str, Any]
) -> None:
    before = snapshot(root)

    with pytest.raises(BadRequest):
        run(**{"work": ["touch", "ran"], **wrong})

    assert snapshot(root) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"TURBO_API": "nonsense"},
        {"TURBO_API": "http://a..b"},
        {"TURBO_API": f"http://{'a' * 70}.invalid"},
        {"TURBO_API": "http://127.0.0.1:99999"},
        {"TURBO_TOKEN": "with a blank"},
        {"TURBO_TEAM": "\udcff"},
        {"ALL_PROXY": "socks5://127.0.0.1:1"},
        {"HTTP_PROXY": "nonsense://127.0.0.1:1"},
        {"HTTP_PROXY": "::::"},
        {"HTTP_PROXY": "http://127.0.0.1:1"},
        {"SSL_CERT_FILE": "/nowhere/certificates.pem"},
    ],
    ids=str,
)
def test_whatever_the_settings_are_the_work_is_done(
    run: Any, make: Make, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    done = run(make, key="x")

    assert (done.outcome, done.value, done.stored) == (Outcome.UNREADABLE, 1, False)
    assert done.problem


STEPS: list[Step] = [
    Stall(),
    HangUp(),
    Truncate(10),
    Refuse(401, "unauthorized"),
    Refuse(403, "remote_caching_disabled"),
    Refuse(429, "rate_limited", headers={"retry-after": "3600"}),
    Refuse(500, "internal"),
    Answer(302, headers={"location": "/elsewhere"}),
    Answer(200, b"hello"),
    Answer(200, b"hello", {"content-encoding": "gzip"}),
    Answer(200, b"hello", {"x-artifact-tag": "\xe9"}),
]


@pytest.fixture
def impatient(fake: StrictFake) -> Iterator[Hitrate]:
    with Hitrate(
        fake.token, server_url=fake.url, slug=fake.slug, timeout=PATIENCE_S, retries=0
    ) as client:
        yield client


@pytest.fixture
def aside() -> Iterator[Recorder]:
    """A recorder before the shared server, so that its requests meet none of the fake's steps."""
    with Hitrate() as client, Recorder(client) as recorder:
        yield recorder


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_whatever_the_server_does_at_the_lookup_the_work_is_done(
    run: Any,
    make: Make,
    fake: StrictFake,
    impatient: Hitrate,
    aside: Recorder,
    step: Step,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURBO_REMOTE_CACHE_SIGNATURE_KEY", "secret")
    if isinstance(step, Truncate):
        run(make, key="x", client=impatient, recorder=aside)
    fake.script(step)

    done = run(make, key="x", client=impatient, recorder=aside)

    assert (done.outcome, done.value) == (Outcome.UNREADABLE, make.runs)
    assert done.problem.startswith("not restored: ")


@pytest.mark.parametrize("step", [step for step in STEPS[:7] if not isinstance(step, Truncate)])
def test_whatever_the_server_does_at_the_upload_the_work_is_done(
    run: Any, make: Make, fake: StrictFake, impatient: Hitrate, aside: Recorder, step: Step
) -> None:
    fake.script(Pass(), step)

    done = run(make, key="x", client=impatient, recorder=aside)

    assert (done.outcome, done.value, done.stored) == (Outcome.MISS, 1, False)
    assert done.problem.startswith("not stored: ")


def test_work_within_work_for_the_same_outputs_is_done(run: Any, make: Make) -> None:
    done = run(lambda: run(make, key="inner"), key="outer")

    assert (done.value.value, make.runs) == (1, 1)


def test_runs_for_the_same_outputs_wait_for_each_other_in_whatever_order_they_name_them(
    root: Path,
) -> None:
    both_began, runs = threading.Barrier(2), []

    def work() -> bool:
        (root / "a").touch()
        (root / "b").touch()
        try:
            both_began.wait(PATIENCE_S)
        except threading.BrokenBarrierError:
            return False
        return True

    def run(*outputs: str) -> None:
        runs.append(cached(work, inputs=["src"], outputs=outputs, root=root, key="x"))

    threads = [threading.Thread(target=run, args=order) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [run.value for run in runs] == [False, None]


def test_an_edited_source_is_never_replaced_by_its_old_self(run: Any, root: Path) -> None:
    (root / "Makefile").touch()
    run(["true"], inputs=["Makefile", "src/**"], outputs=["src"])
    (root / "src" / "a").write_text("edited")

    done = run(["true"], inputs=["Makefile", "src/**"], outputs=["src"])

    assert (root / "src" / "a").read_text() == "edited"
    assert done.outcome is not Outcome.HIT


@pytest.mark.parametrize("obstacle", ["file", "link to nothing"])
def test_without_a_work_folder_the_work_is_done(
    run: Any, make: Make, root: Path, obstacle: str
) -> None:
    if obstacle == "file":
        (root / ".hitrate").touch()
    else:
        (root / ".hitrate").symlink_to("nowhere/at all")

    done = run(make, key="x")

    assert (done.outcome, done.value, done.stored) == (Outcome.UNREADABLE, 1, False)
    assert done.problem.startswith("not cached: ")
