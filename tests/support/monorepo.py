"""Generates a monorepo for the real `turbo`, and runs `turbo` in it.

It has 24 packages in four layers, each depending on two packages of the layer below, and 56 tasks.
Each task copies its source to `dist` and adds a line to `.executed`, which turbo ignores. A cold
run has 112 events, more than turbo sends in one request.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYERS = {"core": 4, "lib": 8, "feature": 8, "app": 4}
TASKS = {
    "core": ("build", "test"),
    "lib": ("build", "test", "lint"),
    "feature": ("build", "lint"),
    "app": ("build", "lint"),
}
SLOW_PACKAGE, SLOW_TASK_MS = "core-0", 300
LARGE_PACKAGE, LARGE_SOURCE_BYTES = "app-0", 300_000
TASK_SETTINGS: dict[str, dict[str, Any]] = {
    "build": {"dependsOn": ["^build"], "outputs": ["dist/**"]},
    "test": {"dependsOn": ["build"], "outputs": []},
    "lint": {"outputs": []},
}
TASK_SCRIPTS = {
    # The slow package's duration distinguishes stored durations from default ones.
    "build": """\
        if [ -e seconds ]; then sleep "$(cat seconds)"; fi
        mkdir -p dist && cp src/* dist/""",
    "test": "cmp src/index.js dist/index.js",
    "lint": "grep -q export src/index.js",
}
# Environment variable that is part of every hash.
HASH_SALT = "SALT"
# Replaces npm, which takes a third of a second to start a task: for hundreds of tasks on two cores
# this would be most of the time of these tests.
FAKE_NPM = """\
#!/bin/sh
[ "$1" = run ] || { echo "unexpected: npm $*" >&2; exit 64; }
exec sh "../../tasks/$2.sh"
"""
RUN_TIMEOUT_S = 120


@dataclass(frozen=True)
class TurboRun:
    """Result of one run of turbo."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Monorepo:
    """A checked-out monorepo; `root` may be copied and deleted."""

    root: Path

    def copy_to(self, root: Path) -> Monorepo:
        """Return a copy in a new directory."""
        shutil.copytree(self.root, root, symlinks=True)
        return Monorepo(root)

    def configure_remote_cache(self, **settings: bool) -> None:
        """Set options of turbo.json's `remoteCache`, and commit them."""
        path = self.root / "turbo.json"
        config = json.loads(path.read_text())
        config.setdefault("remoteCache", {}).update(settings)
        path.write_text(json.dumps(config, indent=2))
        _git(self.root, "commit", "--quiet", "--all", "--message", "Configure the remote cache")

    def edit(self, package: str) -> None:
        """Change a source file without a commit; the package and its dependents become stale."""
        with (self.root / "packages" / package / "src" / "index.js").open("a") as source:
            source.write("export const edited = true;\n")

    def delete_builds(self) -> None:
        """Delete the local cache (in the directory of every turbo release), logs and outputs."""
        shutil.rmtree(self.root / ".turbo", ignore_errors=True)
        shutil.rmtree(self.root / "node_modules" / ".cache", ignore_errors=True)
        for package in self._packages():
            shutil.rmtree(package / ".turbo", ignore_errors=True)
        self.delete_outputs()

    def delete_outputs(self) -> None:
        """Delete the outputs, but not the local cache."""
        for package in self._packages():
            shutil.rmtree(package / "dist", ignore_errors=True)

    def outputs(self) -> dict[str, bytes]:
        """Return the content of every output file by its path relative to the root."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for package in self._packages()
            for path in (package / "dist").rglob("*")
            if path.is_file()
        }

    def pop_executed_tasks(self) -> set[str]:
        """Return the tasks that were executed since the last call, as `package#task`."""
        log = self.root / ".executed"
        if not log.exists():
            return set()
        tasks = set(log.read_text().split())
        log.unlink()
        return tasks

    def _packages(self) -> Iterator[Path]:
        return (self.root / "packages").iterdir()


def all_tasks() -> set[str]:
    """Return all tasks, as `package#task`."""
    return {
        f"{package}#{task}" for layer, package in _layers_and_packages() for task in TASKS[layer]
    }


def generate(root: Path, *, tasks_key: str) -> Monorepo:
    """Write and commit a monorepo. `tasks_key` of turbo.json: `pipeline` in 1.x, then `tasks`."""
    for layer, package in _layers_and_packages():
        _write_package(root, layer, package)
    _write_root(root, tasks_key)
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "Start")
    return Monorepo(root)


def run(turbo: Path, repo: Monorepo, *args: str, env: Mapping[str, str]) -> TurboRun:
    """Run `turbo run ARGS` with `env`, without inheriting this process's environment."""
    process = subprocess.run(
        # A daemon would keep running after the test.
        [str(turbo), "run", *args, "--no-daemon"],
        cwd=repo.root,
        env={**_environment(repo), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    return TurboRun(process.returncode, process.stdout, process.stderr)


def _environment(repo: Monorepo) -> dict[str, str]:
    """Return a minimal environment.

    It is not a filtered copy of this process's, because turbo detects CIs and coding agents by
    dozens of variables, and each release adds some.
    """
    return {
        "PATH": os.pathsep.join([str(repo.root / "bin"), os.environ.get("PATH", os.defpath)]),
        "HOME": str(repo.root / ".home"),
        "TURBO_TELEMETRY_DISABLED": "1",
        "TURBO_NO_UPDATE_NOTIFIER": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def _layers_and_packages() -> Iterator[tuple[str, str]]:
    for layer, count in LAYERS.items():
        for number in range(count):
            yield layer, f"{layer}-{number}"


def _dependencies(layer: str, package: str) -> list[str]:
    position = list(LAYERS).index(layer)
    if position == 0:
        return []
    below = list(LAYERS)[position - 1]
    number = int(package.rpartition("-")[2])
    return [f"{below}-{(number + step) % LAYERS[below]}" for step in (0, 1)]


def _manifest(layer: str, package: str) -> dict[str, Any]:
    return {
        "name": package,
        "version": "1.0.0",
        "scripts": {task: f"sh ../../tasks/{task}.sh" for task in TASKS[layer]},
        "dependencies": dict.fromkeys(_dependencies(layer, package), "1.0.0"),
    }


def _write_package(root: Path, layer: str, package: str) -> None:
    directory = root / "packages" / package
    _write(directory / "package.json", _manifest(layer, package))
    _write(directory / "src" / "index.js", f'export const name = "{package}";\n')
    if package == SLOW_PACKAGE:
        _write(directory / "seconds", str(SLOW_TASK_MS / 1000))
    if package == LARGE_PACKAGE:
        # Random, because zstd would compress anything else to a single packet.
        noise = random.Random(package).randbytes(LARGE_SOURCE_BYTES)
        (directory / "src" / "noise.bin").write_bytes(noise)


def _write_root(root: Path, tasks_key: str) -> None:
    manifest = {
        "name": "acme",
        "version": "1.0.0",
        "private": True,
        "packageManager": "npm@10.9.3",
        "workspaces": ["packages/*"],
    }
    _write(root / "package.json", manifest)
    _write(root / "package-lock.json", _lock_file(manifest))
    _write(root / "turbo.json", {"globalEnv": [HASH_SALT], tasks_key: TASK_SETTINGS})
    _write(root / ".gitignore", "node_modules\n.turbo\n.home\n.executed\ndist\n")
    for task, script in TASK_SCRIPTS.items():
        log = f'echo "${{PWD##*/}}#{task}" >> ../../.executed\n'
        _write(root / "tasks" / f"{task}.sh", f"set -eu\n{log}{script}\n")
    _write(root / "bin" / "npm", FAKE_NPM)
    (root / "bin" / "npm").chmod(0o755)


def _lock_file(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the lock file of `npm install`, from which turbo reads the dependencies."""
    packages: dict[str, Any] = {"": {key: manifest[key] for key in ("name", "version")}}
    packages[""]["workspaces"] = manifest["workspaces"]
    for layer, package in _layers_and_packages():
        directory = f"packages/{package}"
        packages[f"node_modules/{package}"] = {"resolved": directory, "link": True}
        entry = _manifest(layer, package)
        packages[directory] = {key: entry[key] for key in ("version", "dependencies")}
    return {
        "name": manifest["name"],
        "version": manifest["version"],
        "lockfileVersion": 3,
        "requires": True,
        "packages": packages,
    }


def _write(path: Path, content: str | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
    path.write_text(text)


def _git(root: Path, *args: str) -> None:
    identity = ["-c", "user.name=Acme", "-c", "user.email=acme@example.invalid"]
    subprocess.run(
        ["git", *identity, *args],
        cwd=root,
        env=_environment(Monorepo(root)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
