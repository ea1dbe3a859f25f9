"""`cached` runs the work whenever the cache fails, and never confuses two pieces of work."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hitrate.client import BadRequest, CachedRun, Hitrate, Outcome, Recorder, cached
from tests.support.sample_project import leftover_files, snapshot
from tests.support.server import Server, eventually
from tests.support.strict_fake import (
    Disconnect,
    ErrorResponse,
    PassThrough,
    Response,
    Stall,
    Step,
    StrictFake,
    Truncate,
)

TIMEOUT_S = 0.3
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
    """A directory with one source file, whose content is unique to the test."""
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a").write_text(unique)
    return root


@pytest.fixture
def run(root: Path) -> Callable[..., CachedRun[Any]]:
    """`cached` in this directory, with outputs in `dist`."""
    return functools.partial(cached, inputs=["src"], outputs=["dist"], root=root)


@pytest.fixture
def build(root: Path) -> BuildFunction:
    return BuildFunction(root)


class BuildFunction:
    """A function that writes `dist/a` and returns the number of its calls, `runs`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        (self.root / "dist").mkdir(exist_ok=True)
        (self.root / "dist" / "a").write_text("built")
        return self.runs


def test_function_returns_its_value_on_a_miss_and_none_on_a_hit(
    run: Any, build: BuildFunction, root: Path
) -> None:
    miss, hit = run(build, key="x"), run(build, key="x")

    assert (miss.outcome, miss.value, miss.stored) == (Outcome.MISS, 1, True)
    assert (hit.outcome, hit.value, hit.stored) == (Outcome.HIT, None, False)
    assert (hit.hash, hit.files, hit.size_bytes) == (miss.hash, 1, miss.size_bytes)
    assert hit.duration_ms == int(miss.duration_ms)
    assert (miss.problem, hit.problem, build.runs) == (None, None, 1)
    assert (root / ".hitrate" / ".gitignore").read_text() == "*\n"
    assert leftover_files(root) == set()


def test_exception_is_raised_and_nothing_is_stored(
    run: Any, build: BuildFunction, root: Path
) -> None:
    def fail() -> None:
        build()
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            run(fail, key="x")

    assert build.runs == 2
    assert leftover_files(root) == set()


def test_work_without_outputs_runs_once(run: Any) -> None:
    assert [run(["true"], outputs=[]).outcome for _ in "ab"] == [Outcome.MISS, Outcome.HIT]


def test_command_runs_in_a_secondary_thread(run: Any) -> None:
    runs: list[CachedRun[None]] = []
    thread = threading.Thread(target=lambda: runs.append(run(["mkdir", "dist"])))
    thread.start()
    thread.join()

    assert [one.stored for one in runs] == [True]


def test_outputs_are_not_stored_if_inputs_changed_during_the_run(
    run: Any, build: BuildFunction, root: Path, unique: str
) -> None:
    def change() -> None:
        build()
        (root / "src" / "a").write_text("changed during the run")

    for _ in range(2):
        (root / "src" / "a").write_text(unique)
        result = run(change, key="x")
        assert (result.outcome, result.stored) == (Outcome.MISS, False)
        assert "inputs changed" in result.problem


def test_run_without_outputs_is_not_stored(run: Any) -> None:
    result = run(["true"])

    assert (result.outcome, result.stored, result.exit_code) == (Outcome.MISS, False, 0)
    assert "the output 'dist' does not exist" in result.problem


def plain() -> None: ...


def with_default(value: str) -> Callable[[], str]:
    def work(value: str = value) -> str:
        return value

    return work


def closure(value: str) -> Callable[[], str]:
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
    def build_class(cls) -> str:
        return cls.__name__


class OtherBuilder(Builder): ...


@pytest.mark.parametrize(
    "work",
    [
        lambda: None,
        closure("x"),
        with_default("x"),
        functools.partial(plain),
        functools.cache(plain),
        Builder("x"),
        Builder("x").build,
        OtherBuilder.build_class,
        threading.Lock().locked,
    ],
    ids=["lambda", "closure", "default", "partial", "wrapped", "object", "method", "class method",
         "builtin"],
)  # fmt: skip
def test_function_that_may_depend_on_hidden_values_requires_a_key(
    run: Any, root: Path, work: Any
) -> None:
    with pytest.raises(BadRequest, match="key="):
        run(work, outputs=[])
    assert not (root / ".hitrate").exists()

    runs = [run(work, outputs=[], key=key).outcome for key in ("1", "2", "1")]

    assert runs == [Outcome.MISS, Outcome.MISS, Outcome.HIT]


def test_plain_function_requires_no_key(run: Any) -> None:
    assert [run(plain, outputs=[]).outcome for _ in "ab"] == [Outcome.MISS, Outcome.HIT]


def test_editing_the_source_file_changes_the_task(run: Any, tmp_path: Path) -> None:
    outcomes = []
    for number, source in enumerate(["def work(): return 1", "def work(): return 2"] * 2):
        # In separate directories, because Python reuses bytecode of files of the same second.
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "tasks.py").write_text(source)
        spec = importlib.util.spec_from_file_location("tasks", directory / "tasks.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        outcomes.append(run(module.work, outputs=[]).outcome)

    assert outcomes == [Outcome.MISS, Outcome.MISS, Outcome.HIT, Outcome.HIT]


def test_passed_client_and_recorder_are_used_and_left_open(
    run: Any,
    build: BuildFunction,
    shared_server: Server,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with (
        Hitrate(shared_server.token, server_url=shared_server.url, slug="default") as client,
        Recorder(client, session_id=unique) as recorder,
    ):
        runs = [run(build, key="x", client=client, recorder=recorder) for _ in range(3)]
        assert client.artifacts.exists(runs[0].hash)
        eventually(lambda: recorder.counts == (3, 0, 0, 0))
        recorder.hit("mine", 5)
    assert recorder.counts == (4, 0, 0, 0)
    eventually(lambda: len(shared_server.events(sessionId=unique)) == 4)
    events = [(e["source"], e["event"], e["hash"]) for e in shared_server.events(sessionId=unique)]
    assert events[::-1] == [
        ("REMOTE", "MISS", runs[0].hash),
        ("REMOTE", "HIT", runs[0].hash),
        ("REMOTE", "HIT", runs[0].hash),
        ("REMOTE", "HIT", "mine"),
    ]


@pytest.mark.parametrize(
    "arguments",
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
def test_invalid_arguments_are_rejected_before_the_work_runs(
    run: Any, root: Path, arguments: dict[str, Any]
) -> None:
    before = snapshot(root)

    with pytest.raises(BadRequest):
        run(**{"work": ["touch", "ran"], **arguments})

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
def test_work_runs_with_unusable_settings(
    run: Any, build: BuildFunction, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    result = run(build, key="x")

    assert (result.outcome, result.value, result.stored) == (Outcome.UNREADABLE, 1, False)
    assert result.problem


STEPS: list[Step] = [
    Stall(),
    Disconnect(),
    Truncate(10),
    ErrorResponse(401, "unauthorized"),
    ErrorResponse(403, "remote_caching_disabled"),
    ErrorResponse(429, "rate_limited", headers={"retry-after": "3600"}),
    ErrorResponse(500, "internal"),
    Response(302, headers={"location": "/elsewhere"}),
    Response(200, b"hello"),
    Response(200, b"hello", {"content-encoding": "gzip"}),
    Response(200, b"hello", {"x-artifact-tag": "\xe9"}),
]


@pytest.fixture
def short_timeout_client(fake: StrictFake) -> Iterator[Hitrate]:
    with Hitrate(
        fake.token, server_url=fake.url, slug=fake.slug, timeout=TIMEOUT_S, retries=0
    ) as client:
        yield client


@pytest.fixture
def separate_recorder() -> Iterator[Recorder]:
    """A recorder of the shared server, so that its requests use none of the fake's steps."""
    with Hitrate() as client, Recorder(client) as recorder:
        yield recorder


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_work_runs_if_the_lookup_fails(
    run: Any,
    build: BuildFunction,
    fake: StrictFake,
    short_timeout_client: Hitrate,
    separate_recorder: Recorder,
    step: Step,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURBO_REMOTE_CACHE_SIGNATURE_KEY", "secret")
    if isinstance(step, Truncate):
        run(build, key="x", client=short_timeout_client, recorder=separate_recorder)
    fake.script(step)

    result = run(build, key="x", client=short_timeout_client, recorder=separate_recorder)

    assert (result.outcome, result.value) == (Outcome.UNREADABLE, build.runs)
    assert result.problem.startswith("not restored: ")


@pytest.mark.parametrize("step", [step for step in STEPS[:7] if not isinstance(step, Truncate)])
def test_work_succeeds_if_the_upload_fails(
    run: Any,
    build: BuildFunction,
    fake: StrictFake,
    short_timeout_client: Hitrate,
    separate_recorder: Recorder,
    step: Step,
) -> None:
    fake.script(PassThrough(), step)

    result = run(build, key="x", client=short_timeout_client, recorder=separate_recorder)

    assert (result.outcome, result.value, result.stored) == (Outcome.MISS, 1, False)
    assert result.problem.startswith("not stored: ")


def test_nested_run_for_the_same_outputs_runs_the_work(run: Any, build: BuildFunction) -> None:
    result = run(lambda: run(build, key="inner"), key="outer")

    assert (result.value.value, build.runs) == (1, 1)


def test_concurrent_runs_for_the_same_outputs_are_serialized_in_any_order_of_names(
    root: Path,
) -> None:
    both_started, runs = threading.Barrier(2), []

    def work() -> bool:
        (root / "a").touch()
        (root / "b").touch()
        try:
            both_started.wait(TIMEOUT_S)
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


def test_edited_source_is_never_overwritten_by_a_stored_version(run: Any, root: Path) -> None:
    (root / "Makefile").touch()
    run(["true"], inputs=["Makefile", "src/**"], outputs=["src"])
    (root / "src" / "a").write_text("edited")

    result = run(["true"], inputs=["Makefile", "src/**"], outputs=["src"])

    assert (root / "src" / "a").read_text() == "edited"
    assert result.outcome is not Outcome.HIT


@pytest.mark.parametrize("obstacle", ["file", "dangling link"])
def test_work_runs_without_a_work_directory(
    run: Any, build: BuildFunction, root: Path, obstacle: str
) -> None:
    if obstacle == "file":
        (root / ".hitrate").touch()
    else:
        (root / ".hitrate").symlink_to("nowhere/target")

    result = run(build, key="x")

    assert (result.outcome, result.value, result.stored) == (Outcome.UNREADABLE, 1, False)
    assert result.problem.startswith("not cached: ")
