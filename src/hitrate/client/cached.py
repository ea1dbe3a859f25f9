"""Runs a task once for its inputs, and brings back what it made the next time.

Promises that the task is done whatever the cache does: what the cache cannot do is told in the
result, and never raised. Outputs are those of a whole run or of a whole archive, one run at a time.
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

from hitrate.client._archive import ArchiveRefused, pack, replace_outputs, unpack
from hitrate.client._globs import Patterns
from hitrate.client._options import ClientOptions, UploadOptions
from hitrate.client._process import Finished, run_command
from hitrate.client._signature import KEY, signature
from hitrate.client._task import Task, environment
from hitrate.client._work_directory import variables, work_folder
from hitrate.client.detection import detected_ci, detected_interactive
from hitrate.client.errors import NotFound
from hitrate.client.models import Source
from hitrate.client.recorder import Recorder
from hitrate.client.sync import Hitrate

Value = TypeVar("Value")

# What a server that hangs, or is away, may cost each task: ten seconds, or one.
_TIMEOUT_S = 5.0
_MAX_PAUSE_S = 1.0
_CLOSE_S = 1.0
# A large archive takes its time to get to the server's disk.
_UPLOAD_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Outcome(enum.StrEnum):
    """What the cache had. `UNREADABLE`: nobody knows, it could not be asked or not be trusted."""

    HIT = "hit"
    MISS = "miss"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class CachedRun(Generic[Value]):
    """What became of a task.

    `hash`: None where nothing was asked of the cache. `duration_ms`: of the run, this one or, after
    a hit, the one that made the outputs. `exit_code`: of a command; `succeeded`: it was 0, and
    nothing interrupted it. `value`: what a function returned; None after a hit. `files`,
    `size_bytes`: in the archive that was restored or `stored`. `problem`: what the cache could not
    do, or why the command could not be run.
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
    """The options of `cached`."""

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
    """Run a command, or a function without arguments, unless the cache has what it would make.

    `inputs` and `outputs`: globs below `root`, where a command runs. `env`: names of environment
    variables, and `key`: anything else, that the outputs depend on. After a hit the outputs are
    exactly those that were stored; only what succeeds (exit code 0) is stored. Without `client`
    one is made from turbo's variables; without `recorder` the events are recorded by one of the
    call's own. Raises BadRequest for wrong arguments, and whatever the function raises.
    """
    task = Task(
        work,
        Path(root).resolve(),
        Patterns(inputs, "inputs", never=("__pycache__",)),
        Patterns(outputs, "outputs"),
        environment(env),
        key,
    )
    task.check()
    with contextlib.ExitStack() as stack:
        try:
            upload_options: UploadOptions = {} if client else {"timeout": _UPLOAD_TIMEOUT}
            client = client or stack.enter_context(
                Hitrate(timeout=_TIMEOUT_S, retries=1, max_pause=_MAX_PAUSE_S)
            )
            folder = stack.enter_context(work_folder(task))
            artifact_hash = task.fingerprint()
        except Exception as error:  # whatever the cache does, the work is done
            return _run(task, CachedRun(Outcome.UNREADABLE, problem=_problem("not cached", error)))
        given = recorder
        recorder = given or stack.enter_context(
            Recorder(client, close_timeout=_CLOSE_S, tell=False)
        )
        done = _Cache(task, artifact_hash, folder, client, recorder, upload_options).run()
        if given is None:
            recorder.close()
            lost = recorder.problem and f"not recorded: {recorder.problem}"
            done = replace(done, problem=done.problem or lost or None)
        return done


class _Cache:
    """One task before one cache; `folder` is its own while it lasts."""

    def __init__(
        self,
        task: Task,
        artifact_hash: str,
        folder: Path,
        client: Hitrate,
        recorder: Recorder,
        upload_options: UploadOptions,
    ) -> None:
        self._task = task
        self._hash = artifact_hash
        self._archive = folder / "outputs.tar.zst"
        self._unpacked = folder / "outputs"
        self._client = client
        self._recorder = recorder
        self._upload_options = upload_options

    def run(self) -> CachedRun[Any]:
        found, may_store = self._restored()
        if found.outcome is Outcome.HIT:
            self._recorder.hit(self._hash, found.duration_ms)
            return found
        # As `turbo`: what could not be read is a miss of this machine, not of the cache.
        missed = Source.REMOTE if found.outcome is Outcome.MISS else Source.LOCAL
        self._recorder.miss(self._hash, source=missed)
        done = _run(self._task, found)
        return self._stored(done) if may_store and done.succeeded else done

    def _restored(self) -> tuple[CachedRun[Any], bool]:
        """What the cache had, and whether it may be given something better."""
        try:
            metadata = self._client.artifacts.download_to(self._hash, self._archive, **_who())
            self._check_signature(metadata.tag)
            self._unpacked.mkdir()
            names = unpack(self._archive, self._task.outputs, self._unpacked)
            replace_outputs(self._task.root, self._task.outputs, self._unpacked)
        except NotFound:
            return CachedRun(Outcome.MISS, self._hash), True
        except Exception as error:  # whatever the cache does, the work is done
            problem = _problem("not restored", error)
            may_store = isinstance(error, ArchiveRefused)
            return CachedRun(Outcome.UNREADABLE, self._hash, problem=problem), may_store
        return CachedRun(
            Outcome.HIT,
            self._hash,
            duration_ms=metadata.duration_ms or 0.0,
            files=len(names),
            size_bytes=self._archive.stat().st_size,
        ), False

    def _stored(self, done: CachedRun[Any]) -> CachedRun[Any]:
        task = self._task
        try:
            files = pack(task.root, task.output_names(), self._archive)
            # What was read may not be what the hash was made of.
            if task.fingerprint() != self._hash:
                raise ArchiveRefused("the inputs changed while it ran")
            options: UploadOptions = {
                **self._upload_options,
                **_who(),
                "x_artifact_duration": int(done.duration_ms),
                "x_artifact_tag": self._signature(),
            }
            self._client.artifacts.upload(self._hash, self._archive, **options)
        except Exception as error:  # whatever the cache does, the work is done
            return replace(done, problem=done.problem or _problem("not stored", error))
        size_bytes = self._archive.stat().st_size
        return replace(done, stored=True, files=files, size_bytes=size_bytes)

    def _signature(self) -> str | None:
        """What the archive's tag has to be; None where nothing is signed."""
        key = os.environ.get(KEY)
        if not key:
            return None
        return signature(key, self._hash, self._client.team_id, self._archive)

    def _check_signature(self, tag: str | None) -> None:
        expected = self._signature()
        given = (tag or "").encode(errors="surrogateescape")
        if expected is not None and not hmac.compare_digest(expected.encode(), given):
            raise ArchiveRefused("its signature is missing or wrong")


def _run(task: Task, found: CachedRun[Any]) -> CachedRun[Any]:
    started = time.perf_counter()
    value, finished = None, Finished(0)
    if callable(task.work):
        value = task.work()
    else:
        finished = run_command(task.work, task.root, variables(task))
    return replace(
        found,
        value=value,
        exit_code=finished.exit_code,
        succeeded=finished == Finished(0),
        problem=finished.problem or found.problem,
        duration_ms=(time.perf_counter() - started) * 1000,
    )


def _problem(what: str, error: Exception) -> str:
    return f"{what}: {error}".rstrip(".")


def _who() -> ClientOptions:
    return {
        "x_artifact_client_ci": detected_ci(),
        "x_artifact_client_interactive": detected_interactive(),
    }
