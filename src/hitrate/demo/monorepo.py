"""Simulated monorepo: packages that depend on each other, and their tasks.

Pure: all randomness comes from a `Random` argument.
"""

import hashlib
from collections.abc import Iterable, Mapping
from math import log
from random import Random
from typing import NamedTuple

PACKAGES = 40
_APPS = 12  # the last ones; no other package depends on them

Tree = Mapping[int, int]
"""Working tree: the version of the files of each package."""


class Task(NamedTuple):
    """Task of a package.

    `inputs`: packages whose files are part of the task's hash. `commit_in_hash_until`: a mistake
    puts the commit into the hash on CI as well, until this fraction (0 to 1) of the simulated
    period has passed.
    """

    number: int
    package: int
    kind: str
    inputs: tuple[int, ...]
    duration_ms: int
    size_bytes: int
    commit_in_hash_until: float


# Kind: median duration in seconds, and median size of the artifact in kB.
_KINDS = {"build": (14.0, 10.0), "test": (19.0, 2.5), "lint": (5.0, 1.6)}
_COMMIT_IN_HASH_UNTIL = {"build": (0.0, 0.25, 0.7), "test": (0.0, 0.25, 0.45), "lint": (0.0,)}


class Monorepo:
    """Packages and tasks. `tasks` are in dependency order. `weights`: how often packages change."""

    def __init__(self, random: Random) -> None:
        self._dependencies: list[tuple[int, ...]] = []
        for package in range(PACKAGES):
            self._dependencies.append(_dependencies(package, self._dependencies, random))
        self.tasks = tuple(self._create_tasks(random))
        self.weights = [_change_weight(package) for package in range(PACKAGES)]

    def filtered(self, package: int) -> list[Task]:
        """Return the tasks of `turbo run build test lint --filter=PACKAGE`."""
        return [
            task
            for task in self.tasks
            if task.package == package
            or (task.kind == "build" and task.package in self._dependencies[package])
        ]

    def affected(self, changed: Iterable[int]) -> list[Task]:
        """Return the tasks of `turbo run build test lint --affected` for changed packages.

        These are the tasks of the changed packages and of their dependents, and the builds that
        those depend on.
        """
        changed_packages = set(changed)
        affected = {
            task.package for task in self.tasks if changed_packages.intersection(task.inputs)
        }
        required = {
            dependency for package in affected for dependency in self._dependencies[package]
        }
        return [
            task
            for task in self.tasks
            if task.package in affected or (task.kind == "build" and task.package in required)
        ]

    def hash_of(self, task: Task, tree: Tree, salt: str) -> str:
        """Return a hash of 16 hexadecimal digits, like turbo's."""
        versions = [tree[package] for package in task.inputs]
        inputs = f"{task.number} {salt} {versions}".encode()
        return hashlib.blake2b(inputs, digest_size=8).hexdigest()

    def _create_tasks(self, random: Random) -> Iterable[Task]:
        number = 0
        for package, dependencies in enumerate(self._dependencies):
            for kind, (seconds, kilobytes) in _KINDS.items():
                size_factor = 4 if kind == "build" and package >= PACKAGES - _APPS else 1
                size = random.lognormvariate(log(kilobytes * size_factor), 0.8) * 1000
                yield Task(
                    number,
                    package,
                    kind,
                    (package,) if kind == "lint" else (*dependencies, package),
                    int(random.lognormvariate(log(seconds), 0.7) * 1000),
                    int(min(max(size, 900), 360_000)),
                    random.choice(_COMMIT_IN_HASH_UNTIL[kind]),
                )
                number += 1


def _dependencies(package: int, earlier: list[tuple[int, ...]], random: Random) -> tuple[int, ...]:
    """Return all direct and indirect dependencies of a package, in order.

    `earlier`: those of the packages before it. Apps have more dependencies than libraries.
    """
    libraries = min(package, PACKAGES - _APPS)
    count = random.randint(3, 6) if package >= PACKAGES - _APPS else random.randint(0, 3)
    direct = random.sample(range(libraries), min(count, libraries))
    transitive = {dependency for library in direct for dependency in (*earlier[library], library)}
    return tuple(sorted(transitive))


def _change_weight(package: int) -> float:
    """Return how often a package changes: apps most, libraries with many dependents least."""
    if package >= PACKAGES - _APPS:
        return 4.0
    return 0.3 + 1.5 * package / PACKAGES
