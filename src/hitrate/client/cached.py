"""Run a task once for its inputs, and restore its outputs the next time.

A failure of the cache never prevents the task and is never raised; the result reports it. Outputs
come from one complete run or from one complete archive.
"""

import contextlib
import enum
import hmac
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Required, TypedDict, TypeVar, Unpack, overload

import httpx

from hitrate.client._archive import ArchiveRejected, pack, replace_outputs, unpack
from hitrate.client._globs import GlobSet
from hitrate.client._options import ClientOptions, UploadOptions
from hitrate.client._process import ProcessResult, run_command
from hitrate.client._signature import KEY, signature
from hitrate.client._task import Task, environment
from hitrate.client._work_directory import command_environment, work_directory
from hitrate.client.detection import detected_ci, detected_interactive
from hitrate.client.errors import NotFound
from hitrate.client.models import Source
from hitrate.client.recorder import Recorder
from hitrate.client.sync import Hitrate

Value = TypeVar("Value")

# A server that hangs delays each task by at most ten seconds, an unreachable one by one second.
_TIMEOUT_S = 5.0
_MAX_BACKOFF_S = 1.0
_CLOSE_TIMEOUT_S = 1.0
# A large archive takes time to reach the server's disk.
_UPLOAD_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Outcome(enum.StrEnum):
    """Result of the lookup. `UNREADABLE`: the cache was unavailable or its archive invalid."""

    HIT = "hit"
    MISS = "miss"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class CachedRun(Generic[Value]):
    """Result of a task.

    `hash`: None if the cache was not used. `duration_ms`: of this run or, after a hit, of the run
    that produced the outputs. `exit_code`: of a command; `succeeded`: it was 0, without an
    interruption. `value`: returned by a function; None after a hit. `files`, `size_bytes`: of the
    archive that was restored or `stored`. `problem`: why the cache could not be used, or why the
    command could not be run.
    """

    outcome: Outcome
    hash: str | None = None
    duration_ms: float = 0.0
    exit_code: int = 0
    succeeded: bool = True
    value: Value | None = None
    files: int = 0
    size_bytes: int = 0
    stored: bool = False
    problem: str | None = None


class CacheOptions(TypedDict, total=False):
    """Options of `cached`."""

    inputs: Required[Sequence[str]]
    outputs: Sequence[str]
    env: Sequence[str]
    key: str
    root: os.PathLike[str] | str
    client: Hitrate | None
    recorder: Recorder | None


@overload
def cached(work: Sequence[str], **options: Unpack[CacheOptions]) -> CachedRun[None]: ...


@overload
def cached(work: Callable[[], Value], **options: Unpack[CacheOptions]) -> CachedRun[Value]: ...


def cached(
    work: Sequence[str] | Callable[[], Any],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str] = (),
    env: Sequence[str] = (),
    key: str = "",
    root: os.PathLike[str] | str = ".",
    client: Hitrate | None = None,
    recorder: Recorder | None = None,
) -> CachedRun[Any]:
    """Run a command or a function without arguments, unless the cache has its outputs.

    `inputs` and `outputs`: globs below `root`, where a command runs. `env`: names of environment
    variables that the outputs depend on; `key`: anything else. After a hit the outputs are exactly
    those that were stored. Only a successful run (exit code 0) is stored. Without `client`, one is
    created from turbo's variables; without `recorder`, the call creates one. Raises BadRequest for
    invalid arguments, and what the function raises.
    """
    task = Task(
        work,
        Path(root).resolve(),
        GlobSet(inputs, "inputs", always_excluded=("__pycache__",)),
        GlobSet(outputs, "outputs"),
        environment(env),
        key,
    )
    task.check()
    with contextlib.ExitStack() as stack:
        try:
            upload_options: UploadOptions = {} if client else {"timeout": _UPLOAD_TIMEOUT}
            client = client or stack.enter_context(
                Hitrate(timeout=_TIMEOUT_S, retries=1, max_backoff=_MAX_BACKOFF_S)
            )
            directory = stack.enter_context(work_directory(task))
            artifact_hash = task.fingerprint()
        except Exception as error:  # a failure of the cache must not fail the task
            return _run(task, CachedRun(Outcome.UNREADABLE, problem=_problem("not cached", error)))
        own_recorder = recorder is None
        recorder = recorder or stack.enter_context(
            Recorder(client, close_timeout=_CLOSE_TIMEOUT_S, log_warnings=False)
        )
        result = _Cache(task, artifact_hash, directory, client, recorder, upload_options).run()
        if own_recorder:
            recorder.close()
            lost_events = recorder.last_error and f"not recorded: {recorder.last_error}"
            result = replace(result, problem=result.problem or lost_events or None)
        return result


class _Cache:
    """One task and its cache. `directory` is used by this run only."""

    def __init__(
        self,
        task: Task,
        artifact_hash: str,
        directory: Path,
        client: Hitrate,
        recorder: Recorder,
        upload_options: UploadOptions,
    ) -> None:
        self._task = task
        self._hash = artifact_hash
        self._archive = directory / "outputs.tar.zst"
        self._unpacked = directory / "outputs"
        self._client = client
        self._recorder = recorder
        self._upload_options = upload_options

    def run(self) -> CachedRun[Any]:
        lookup, may_store = self._restore()
        if lookup.outcome is Outcome.HIT:
            self._recorder.hit(self._hash, lookup.duration_ms)
            return lookup
        # As in `turbo`, an unreadable artifact is a miss of this machine, not of the cache.
        source = Source.REMOTE if lookup.outcome is Outcome.MISS else Source.LOCAL
        self._recorder.miss(self._hash, source=source)
        result = _run(self._task, lookup)
        return self._store(result) if may_store and result.succeeded else result

    def _restore(self) -> tuple[CachedRun[Any], bool]:
        """Restore the outputs. Return the result, and whether a new archive may be stored."""
        try:
            metadata = self._client.artifacts.download_to(
                self._hash, self._archive, **_client_info()
            )
            self._check_signature(metadata.tag)
            self._unpacked.mkdir()
            names = unpack(self._archive, self._task.outputs, self._unpacked)
            replace_outputs(self._task.root, self._task.outputs, self._unpacked)
        except NotFound:
            return CachedRun(Outcome.MISS, self._hash), True
        except Exception as error:  # a failure of the cache must not fail the task
            problem = _problem("not restored", error)
            may_store = isinstance(error, ArchiveRejected)
            return CachedRun(Outcome.UNREADABLE, self._hash, problem=problem), may_store
        return CachedRun(
            Outcome.HIT,
            self._hash,
            duration_ms=metadata.duration_ms or 0.0,
            files=len(names),
            size_bytes=self._archive.stat().st_size,
        ), False

    def _store(self, result: CachedRun[Any]) -> CachedRun[Any]:
        task = self._task
        try:
            files = pack(task.root, task.output_names(), self._archive)
            # The command may have read other inputs than the hashed ones.
            if task.fingerprint() != self._hash:
                raise ArchiveRejected("the inputs changed during the run")
            options: UploadOptions = {
                **self._upload_options,
                **_client_info(),
                "x_artifact_duration": int(result.duration_ms),
                "x_artifact_tag": self._signature(),
            }
            self._client.artifacts.upload(self._hash, self._archive, **options)
        except Exception as error:  # a failure of the cache must not fail the task
            return replace(result, problem=result.problem or _problem("not stored", error))
        size_bytes = self._archive.stat().st_size
        return replace(result, stored=True, files=files, size_bytes=size_bytes)

    def _signature(self) -> str | None:
        """Return the tag that the archive must have; None without a signature key."""
        key = os.environ.get(KEY)
        if not key:
            return None
        return signature(key, self._hash, self._client.team_id, self._archive)

    def _check_signature(self, tag: str | None) -> None:
        expected = self._signature()
        received = (tag or "").encode(errors="surrogateescape")
        if expected is not None and not hmac.compare_digest(expected.encode(), received):
            raise ArchiveRejected("its signature is missing or invalid")


def _run(task: Task, lookup: CachedRun[Any]) -> CachedRun[Any]:
    started = time.perf_counter()
    value, finished = None, ProcessResult(0)
    if callable(task.work):
        value = task.work()
    else:
        finished = run_command(task.work, task.root, command_environment(task))
    return replace(
        lookup,
        value=value,
        exit_code=finished.exit_code,
        succeeded=finished == ProcessResult(0),
        problem=finished.problem or lookup.problem,
        duration_ms=(time.perf_counter() - started) * 1000,
    )


def _problem(effect: str, error: Exception) -> str:
    return f"{effect}: {error}".rstrip(".")


def _client_info() -> ClientOptions:
    return {
        "x_artifact_client_ci": detected_ci(),
        "x_artifact_client_interactive": detected_interactive(),
    }
