"""The data directory: its paths, its lock, and the address of the server that uses it."""

import fcntl
import os
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self

import msgspec

from hitrate.config import Settings
from hitrate.errors import ConfigError, DataDirLocked


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths in a data directory."""

    path: Path

    @property
    def database(self) -> Path:
        """SQLite database of teams, users, tokens and the artifact index."""
        return self.path / "hitrate.sqlite"

    @property
    def event_store(self) -> Path:
        """DuckDB database of events and runs."""
        return self.path / "events.duckdb"

    @property
    def spool(self) -> Path:
        """Directory of event segments that the loader has not loaded yet."""
        return self.path / "spool"

    @property
    def quarantine(self) -> Path:
        """Directory of batches that cannot be loaded, with the reasons."""
        return self.spool / "quarantine"

    @property
    def artifacts(self) -> Path:
        """Directory of artifact bodies."""
        return self.path / "artifacts"

    @property
    def exports(self) -> Path:
        """Directory of export files in progress."""
        return self.path / "exports"

    @property
    def meter(self) -> Path:
        """File of metered usage in the current billing cycles."""
        return self.path / "meter.ndjson"

    @property
    def lock(self) -> Path:
        """Lock file, which holds the ServerInfo of the process that has locked it."""
        return self.path / "hitrate.lock"


class ServerInfo(msgspec.Struct):
    """The process that has locked a data directory, and where it is reached.

    `tls_cert` is the path of its certificate, or None for plain HTTP.
    """

    pid: int
    url: str
    tls_cert: str | None = None


class DataDirLock:
    """Context manager that creates and locks the data directory: one process at a time uses it.

    The lock is an flock, which the kernel releases when the process ends. The lock file holds the
    ServerInfo, so that commands find the server. Raises ConfigError or DataDirLocked.

    While it is held, the process creates files that only their owner can read: the umask is 0077.
    """

    def __init__(self, settings: Settings) -> None:
        self._dir = DataDir(settings.data_dir)
        cert = settings.tls_cert
        self._info = ServerInfo(
            os.getpid(), server_url(settings), str(cert.absolute()) if cert else None
        )
        self._file: IO[bytes] | None = None
        self._previous_umask = 0

    def __enter__(self) -> Self:
        ensure_private_dir(self._dir.path)
        file = open(self._dir.lock, "a+b", opener=partial(os.open, mode=0o600))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            other = read_server_info(self._dir.path)
            by = f" by process {other.pid} at {other.url}" if other else ""
            raise DataDirLocked(
                f"The data directory {self._dir.path} is in use{by}: stop that server, or choose "
                "another directory with --data-dir."
            ) from None
        file.truncate(0)
        file.write(msgspec.json.encode(self._info))
        file.flush()
        self._file = file
        self._previous_umask = os.umask(0o077)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.umask(self._previous_umask)
            self._file.truncate(0)
            self._file.close()
            self._file = None


def ensure_private_dir(path: Path) -> None:
    """Create the directory with mode 0700 unless it exists. Raises ConfigError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"The data directory {path} cannot be created: {error.strerror}. Choose another with "
            "--data-dir."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(
            f"The data directory {path} is not writable: change its owner or its mode."
        )


def read_server_info(path: Path) -> ServerInfo | None:
    """Return the server that has locked a data directory, or None if none has."""
    try:
        with DataDir(path).lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(file.read(), type=ServerInfo)
    except (OSError, msgspec.DecodeError):
        return None
    return None


def free_bytes(path: Path) -> int:
    """Return the free disk space at `path` that unprivileged processes may use. Raises OSError."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def server_url(settings: Settings) -> str:
    """Return the URL at which a client on the same machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # reason: compared
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"


def check_port_free(settings: Settings) -> None:
    """Check that the server can listen on its address. Raises ConfigError.

    The HTTP server itself sets SO_REUSEPORT, so a second server would start without an error.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Stop the process that listens there, or choose another --port."
        ) from error
