"""The data folder: made, private to its user, and held by one server at a time.

The lock file says which server holds the folder, so that commands find it.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO, Self

import msgspec

from hitrate.config import Settings
from hitrate.errors import ConfigError, DataDirLocked

LOCK_FILE = "hitrate.lock"
SPOOL_DIR = "spool"
ARTIFACTS_DIR = "artifacts"
EXPORTS_DIR = "exports"


class ServerInfo(msgspec.Struct):
    """The process that holds the folder. `tls_cert` is the certificate it shows, if any."""

    pid: int
    url: str
    tls_cert: str | None = None


class DataDirLock:
    """Holds the folder for the length of a `with`."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data_dir
        cert = settings.tls_cert
        self._holder = ServerInfo(
            os.getpid(), server_url(settings), str(cert.absolute()) if cert else None
        )
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        ensure_private_dir(self._path)
        file = (self._path / LOCK_FILE).open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            other = read_server_info(self._path)
            by = f" by process {other.pid} at {other.url}" if other else ""
            raise DataDirLocked(
                f"The data folder {self._path} is in use{by}: stop that server, or choose another "
                "folder with --data-dir."
            ) from None
        file.truncate(0)
        file.write(msgspec.json.encode(self._holder))
        file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def ensure_private_dir(path: Path) -> None:
    """Make the folder if it is not there. Raises ConfigError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"The data folder {path} cannot be made: {error.strerror}. Choose another with "
            "--data-dir."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"The data folder {path} cannot be written: change its owner or mode.")


def read_server_info(path: Path) -> ServerInfo | None:
    """The running server that holds the folder, or None."""
    try:
        with (path / LOCK_FILE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(file.read(), type=ServerInfo)
    except (OSError, msgspec.DecodeError):
        return None
    return None


def server_url(settings: Settings) -> str:
    """Where a client on this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # reason: compared
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"


def check_port_free(settings: Settings) -> None:
    """Raises ConfigError when the address cannot be listened on.

    Looked at here, because the HTTP server shares ports: two servers would both start.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Stop what listens there, or choose another --port."
        ) from error
