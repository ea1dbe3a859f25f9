"""Export jobs: the files they consist of, the threads that write them, and cleanup.

DuckDB writes each chunk to a file in a directory of the job, outside the interpreter lock. The
sender of the response only copies bytes, and no query is open while it does. A file is unlinked
before it is handed over, so it disappears when it is closed, whatever happens.
"""

import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import duckdb

from hitrate.analytics.export.datasets import Chunk, Dataset, Values
from hitrate.analytics.export.formats import Format
from hitrate.analytics.rows import Row, fetch
from hitrate.background import lower_thread_priority
from hitrate.datadir import free_bytes
from hitrate.errors import EventStoreUnavailable, RateLimited, ServiceUnavailable
from hitrate.events.store import DuckDBEventStore

MAX_CONCURRENT = 2
"""Chunks that are written at a time."""

MAX_PER_TEAM = 4
RETRY_AFTER_S = 10
SEND_TIMEOUT_S = 120.0

_INTERRUPT_INTERVAL_S = 0.05

_ISOLATED_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 1,
    "autoinstall_known_extensions": False,
    "temp_directory": "",
}

Submit = Callable[[Callable[[], BinaryIO | None]], "Future[BinaryIO | None]"]


class ExportManager:
    """All export jobs of a server.

    Jobs share MAX_CONCURRENT threads and take turns for each chunk, so that a long export does
    not delay others. A team may run MAX_PER_TEAM jobs, because each may hold a file for as long as
    its client takes to read it.
    """

    def __init__(
        self,
        store: DuckDBEventStore,
        directory: Path,
        min_free_bytes: int,
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self.send_timeout_s = send_timeout_s
        """After this time, a client that accepts no data is considered disconnected."""
        self._store = store
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._team_of_job: dict[ExportJob, str] = {}
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Remove the files that a crash left, and start accepting jobs."""
        if self._threads is None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir(mode=0o700, parents=True)
            self._threads = ThreadPoolExecutor(MAX_CONCURRENT, "exports", lower_thread_priority)

    def close(self) -> None:
        """Stop all jobs, interrupting their queries."""
        with self._lock:
            threads, self._threads = self._threads, None
            jobs = list(self._team_of_job)
        for job in jobs:
            job.close()
        if threads is not None:
            threads.shutdown()

    def start(self, team_id: str, dataset: Dataset, file_format: Format) -> "ExportJob":
        """Start a job, which the caller closes. Raises RateLimited or ServiceUnavailable."""
        job = ExportJob(
            self._store,
            self._directory,
            self._min_free_bytes,
            dataset,
            file_format,
            self._submit,
            self._release,
        )
        with self._lock:
            if self._threads is None:
                raise _stopped()
            if list(self._team_of_job.values()).count(team_id) >= MAX_PER_TEAM:
                raise RateLimited(
                    f"This team already runs {MAX_PER_TEAM} exports; wait until one is finished.",
                    RETRY_AFTER_S,
                )
            self._team_of_job[job] = team_id
        return job

    def _submit(self, write_file: Callable[[], BinaryIO | None]) -> "Future[BinaryIO | None]":
        with self._lock:
            if self._threads is None:
                raise _stopped()
            return self._threads.submit(write_file)

    def _release(self, job: "ExportJob") -> None:
        with self._lock:
            self._team_of_job.pop(job, None)


class ExportJob:
    """One export: a sequence of files whose concatenation is the exported file."""

    def __init__(
        self,
        store: DuckDBEventStore,
        directory: Path,
        min_free_bytes: int,
        dataset: Dataset,
        file_format: Format,
        submit: Submit,
        on_close: Callable[["ExportJob"], None],
    ) -> None:
        self._store = store
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._dataset = dataset
        self._format = file_format
        self._submit = submit
        self._on_close = on_close
        self._files = self._write_files()
        self._working = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        self._active_query: duckdb.DuckDBPyConnection | None = None

    def next_file(self) -> "Future[BinaryIO | None]":
        """Write the next file on a thread of the manager; None follows the last file.

        The file is closed when the next one is requested, or the job is closed. Raises
        ServiceUnavailable here or from the future; the job has no more files then.
        """
        return self._submit(self._next_file)

    def close(self) -> None:
        """Interrupt the current query, remove all files, and free the team's slot.

        May be called several times and from any thread.
        """
        self._closed = True
        # Repeatedly, because an interrupt before the query has started has no effect.
        while not self._working.acquire(timeout=_INTERRUPT_INTERVAL_S):
            with self._lock:
                if self._active_query is not None:
                    self._active_query.interrupt()
        self._files.close()
        self._working.release()
        self._on_close(self)

    def _next_file(self) -> BinaryIO | None:
        with self._working:
            if self._closed:
                raise _stopped()
            try:
                return next(self._files, None)
            except (EventStoreUnavailable, duckdb.Error, OSError) as error:
                if self._closed:
                    raise _stopped() from error
                raise ServiceUnavailable(f"The export failed: {error}") from error

    def _write_files(self) -> Generator[BinaryIO]:
        file_format = self._format
        copy = f"COPY ({self._dataset.query(file_format)}) TO $path ({file_format.copy_options})"
        with TemporaryDirectory(dir=self._directory, ignore_cleanup_errors=True) as name:
            directory = Path(name)
            sizes: list[int] = []
            for chunk in self._dataset.chunks(self._fetch, directory):
                self._check_free_space(self._required_bytes(sizes, chunk))
                path = directory / str(len(sizes))
                with self._store.cursor() as cursor, self._interruptible(cursor):
                    cursor.execute(copy, {**chunk.values, "path": str(path)}).fetchall()
                sizes.append(path.stat().st_size)
                if not file_format.single_file:
                    with _open_unlinked(path) as file:
                        yield file
            if not file_format.single_file:
                return
            paths = [str(directory / str(number)) for number in range(len(sizes))]
            single = _open_unlinked(self._merge(paths, directory / "merged"))
        with single:
            yield single

    def _required_bytes(self, sizes: list[int], chunk: Chunk) -> int:
        """Estimate the disk space for a chunk, from the sizes of the chunks before it.

        For a single file, include all remaining chunks, and their merged copy.
        """
        if not sizes:
            return self._dataset.chunk_rows * self._format.row_bytes
        if not self._format.single_file:
            return max(sizes)
        return sum(sizes) + 2 * max(sizes) * chunk.remaining

    def _check_free_space(self, required_bytes: int) -> None:
        if free_bytes(self._directory) - required_bytes < self._min_free_bytes:
            raise ServiceUnavailable(
                f"Too little free disk space: this export temporarily needs {required_bytes} "
                "bytes. Free some space, or export less: a shorter period, or ndjson or csv, which "
                "need space for one chunk at a time."
            )

    def _fetch(self, row_type: type[Row], sql: str, values: Values, /) -> list[Row]:
        with self._store.cursor() as cursor, self._interruptible(cursor):
            return fetch(cursor, row_type, sql, values)

    def _merge(self, paths: list[str], merged: Path) -> Path:
        """Merge Parquet files into one.

        In a separate database: a query this long must not hold the event store.
        """
        copy = f"COPY (FROM read_parquet($paths)) TO $path ({self._format.copy_options})"
        with duckdb.connect(config=_ISOLATED_CONFIG) as connection, self._interruptible(connection):
            connection.execute(copy, {"paths": paths, "path": str(merged)}).fetchall()
        return merged

    @contextmanager
    def _interruptible(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let `close` interrupt the queries of a connection. Raises ServiceUnavailable."""
        with self._lock:
            self._active_query = connection
        try:
            if self._closed:
                raise _stopped()
            yield
        finally:
            with self._lock:
                self._active_query = None


def _open_unlinked(path: Path) -> BinaryIO:
    """Open a file and remove its name, so that closing it frees its space."""
    file = path.open("rb")
    path.unlink()
    return file


def _stopped() -> ServiceUnavailable:
    return ServiceUnavailable("The export was stopped; start it again.")
