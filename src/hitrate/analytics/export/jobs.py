"""Export jobs: the files they consist of, the threads that write them, and cleanup.

DuckDB writes each part to a file in a folder of its own, outside the interpreter's lock; who sends
the file only moves bytes, and no query is open meanwhile. A file has no name any more when it is
handed over, so it is gone when it is closed, whatever happens.
"""

import os
import shutil
import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import duckdb

from hitrate.analytics.export.datasets import Part, Table, Values
from hitrate.analytics.export.formats import Form
from hitrate.analytics.rows import Row
from hitrate.errors import EventStoreUnavailable, RateLimited, ServiceUnavailable
from hitrate.events.loader import NICENESS
from hitrate.events.store import DuckDBEventStore

AT_WORK_MOST = 2
OF_A_TEAM_MOST = 4
COME_AGAIN_S = 10
STALLED_S = 120.0

_INTERRUPT_EVERY_S = 0.05

_APART: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 1,
    "autoinstall_known_extensions": False,
    "temp_directory": "",
}


class ExportManager:
    """All exports of a server.

    A few parts are made at once, and whoever wants one waits for their turn: an export takes turns
    with the others however long it is. A team may have a few exports under way, more are refused:
    each may hold a file for as long as its client takes to read it.
    """

    def __init__(
        self,
        store: DuckDBEventStore,
        folder: Path,
        min_free_bytes: int,
        stalled_s: float = STALLED_S,
    ) -> None:
        self.stalled_s = stalled_s
        """A client that takes nothing for so long has stopped reading."""
        self._store = store
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._under_way: dict[Export, str] = {}
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Remove what a crash left, and be ready."""
        if self._threads is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(mode=0o700, parents=True)
            self._threads = ThreadPoolExecutor(AT_WORK_MOST, "exports", _step_back)

    def close(self) -> None:
        """End all exports, soon."""
        with self._lock:
            threads, self._threads = self._threads, None
            exports = list(self._under_way)
        for export in exports:
            export.close()
        if threads is not None:
            threads.shutdown()

    def begin(self, team_id: str, table: Table, form: Form) -> "Export":
        """A new export; `end` it. Raises RateLimited or ServiceUnavailable."""
        export = Export(self._store, self._folder, self._min_free_bytes, table, form)
        with self._lock:
            if self._threads is None:
                raise _stopped()
            if list(self._under_way.values()).count(team_id) >= OF_A_TEAM_MOST:
                raise RateLimited(
                    f"{OF_A_TEAM_MOST} exports of this team are under way; wait for one to end.",
                    COME_AGAIN_S,
                )
            self._under_way[export] = team_id
        return export

    def next_file(self, export: "Export") -> "Future[BinaryIO | None]":
        """What `Export.next_file` returns, when it is its turn. Raises ServiceUnavailable."""
        with self._lock:
            if self._threads is None:
                raise _stopped()
            return self._threads.submit(export.next_file)

    def end(self, export: "Export") -> None:
        """Leave nothing of it. Waits for what it is doing, which it stops."""
        export.close()
        with self._lock:
            self._under_way.pop(export, None)


class Export:
    """One of them. Its files are asked for one after another; it can be closed at any time."""

    def __init__(
        self,
        store: DuckDBEventStore,
        folder: Path,
        min_free_bytes: int,
        table: Table,
        form: Form,
    ) -> None:
        self._store = store
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._table = table
        self._form = form
        self._files = self._make()
        self._at_work = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        self._asked: duckdb.DuckDBPyConnection | None = None

    def next_file(self) -> BinaryIO | None:
        """The next file, to be sent behind those before it; None after the last. It is closed
        when another is asked for, or the export.

        Raises ServiceUnavailable; there are no more files then.
        """
        with self._at_work:
            if self._closed:
                raise _stopped()
            try:
                return next(self._files, None)
            except (EventStoreUnavailable, duckdb.Error, OSError) as error:
                if self._closed:
                    raise _stopped() from error
                raise ServiceUnavailable(f"The export cannot be made now: {error}") from error

    def close(self) -> None:
        """Stop, and leave nothing."""
        self._closed = True
        # Again and again: a query that is only about to begin does not hear of it.
        while not self._at_work.acquire(timeout=_INTERRUPT_EVERY_S):
            with self._lock:
                if self._asked is not None:
                    self._asked.interrupt()
        self._files.close()
        self._at_work.release()

    def _make(self) -> Generator[BinaryIO]:
        form, query = self._form, self._table.query(self._form)
        copy = f"COPY ({query}) TO $path ({form.options})"
        with TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            sizes: list[int] = []
            for part in self._table.parts(self._ask, folder):
                self._check_room(self._needed(sizes, part))
                path = folder / str(len(sizes))
                self._ask(copy, {**part.values, "path": str(path)})
                sizes.append(path.stat().st_size)
                if not form.whole:
                    with _taken(path) as file:
                        yield file
            if not form.whole:
                return
            parts = [str(folder / str(number)) for number in range(len(sizes))]
            whole = _taken(self._join(parts, folder / "whole"))
        with whole:
            yield whole

    def _needed(self, sizes: list[int], part: Part) -> int:
        """How much room a part needs; of a whole file, all that is still to be written, as far as
        the parts before tell."""
        if not sizes:
            return self._table.rows * self._form.row_bytes
        if not self._form.whole:
            return max(sizes)
        return sum(sizes) + 2 * max(sizes) * part.left

    def _check_room(self, size_bytes: int) -> None:
        if _free_bytes(self._folder) - size_bytes < self._min_free_bytes:
            raise ServiceUnavailable(
                f"The disk has too little room for this export, which needs {size_bytes} bytes of "
                "it for a while. Free some, or ask for less: a shorter period, or ndjson or csv, "
                "which need room for a part only."
            )

    def _ask(self, query: str, values: Values) -> list[Row]:
        with self._store.cursor() as cursor:
            return self._answer(cursor, query, values)

    def _join(self, parts: list[str], path: Path) -> Path:
        """One file of all parts: far from the store, which no long query may hold."""
        with duckdb.connect(config=_APART) as connection:
            query = f"COPY (FROM read_parquet($parts)) TO $path ({self._form.options})"
            self._answer(connection, query, {"parts": parts, "path": str(path)})
        return path

    def _answer(
        self, connection: duckdb.DuckDBPyConnection, query: str, values: Values
    ) -> list[Row]:
        with self._lock:
            self._asked = connection
        try:
            if self._closed:
                raise _stopped()
            return connection.execute(query, values).fetchall()
        finally:
            with self._lock:
                self._asked = None


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _taken(path: Path) -> BinaryIO:
    file = path.open("rb")
    path.unlink()
    return file


def _stopped() -> ServiceUnavailable:
    return ServiceUnavailable("The export was stopped; start it again.")


def _step_back() -> None:
    """Work behind the requests, as the loader does."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
