"""A made-up monorepo for `hitrate demo`: packages that need one another, and the tasks of each.

Pure: everything comes from the `Random` that is handed in.
"""

import hashlib
from collections.abc import Iterable, Mapping
from math import log
from random import Random
from typing import NamedTuple

PACKAGES = 40
_APPS = 12  # the last ones; no other package needs them

Tree = Mapping[int, int]
"""The version of each package's files."""


class Task(NamedTuple):
    """A task of a package. `inputs`: the packages whose files are in its hash. Until that part of
    the history (0 to 1) has passed, the commit is `stamped` into it on CI as well, by mistake."""

    number: int
    package: int
    kind: str
    inputs: tuple[int, ...]
    takes_ms: int
    size_bytes: int
    stamped: float


# Kind: the median of its time in seconds and of its artifact in kB.
_KINDS = {"build": (14.0, 10.0), "test": (19.0, 2.5), "lint": (5.0, 1.6)}
_STAMPED = {"build": (0.0, 0.25, 0.7), "test": (0.0, 0.25, 0.45), "lint": (0.0,)}


class Repo:
    """The packages and tasks; tasks stand behind those that they need."""

    def __init__(self, random: Random) -> None:
        self._closures: list[tuple[int, ...]] = []
        for package in range(PACKAGES):
            self._closures.append(_closure(package, self._closures, random))
        self.tasks = tuple(self._make_tasks(random))
        self.weights = [_often_changed(package) for package in range(PACKAGES)]

    def around(self, package: int) -> list[Task]:
        """What `turbo run build test lint --filter=PACKAGE` runs."""
        return [
            task
            for task in self.tasks
            if task.package == package or (task.kind == "build" and self._needs(package, task))
        ]

    def affected(self, changed: Iterable[int]) -> list[Task]:
        """What `turbo run build test lint --affected` runs: what changed, what needs that, and
        the builds that those need."""
        touched = set(changed)
        hit = {task.package for task in self.tasks if touched.intersection(task.inputs)}
        needed = {need for package in hit for need in self._closures[package]}
        return [
            task
            for task in self.tasks
            if task.package in hit or (task.kind == "build" and task.package in needed)
        ]

    def hash_of(self, task: Task, tree: Tree, stamp: str) -> str:
        """16 hexadecimal digits, as turbo's are."""
        versions = [tree[package] for package in task.inputs]
        told = f"{task.number} {stamp} {versions}".encode()
        return hashlib.blake2b(told, digest_size=8).hexdigest()

    def _needs(self, package: int, task: Task) -> bool:
        return task.package in self._closures[package]

    def _make_tasks(self, random: Random) -> Iterable[Task]:
        number = 0
        for package, closure in enumerate(self._closures):
            for kind, (seconds, kilobytes) in _KINDS.items():
                large = 4 if kind == "build" and package >= PACKAGES - _APPS else 1
                size = random.lognormvariate(log(kilobytes * large), 0.8) * 1000
                yield Task(
                    number,
                    package,
                    kind,
                    (package,) if kind == "lint" else (*closure, package),
                    int(random.lognormvariate(log(seconds), 0.7) * 1000),
                    int(min(max(size, 900), 360_000)),
                    random.choice(_STAMPED[kind]),
                )
                number += 1


def _closure(package: int, before: list[tuple[int, ...]], random: Random) -> tuple[int, ...]:
    """All that a package needs, in order; an app needs more than a library does."""
    libraries = min(package, PACKAGES - _APPS)
    count = random.randint(3, 6) if package >= PACKAGES - _APPS else random.randint(0, 3)
    direct = random.sample(range(libraries), min(count, libraries))
    needed = {need for one in direct for need in (*before[one], one)}
    return tuple(sorted(needed))


def _often_changed(package: int) -> float:
    """Apps are worked on most; what everything stands on is hardly touched."""
    if package >= PACKAGES - _APPS:
        return 4.0
    return 0.3 + 1.5 * package / PACKAGES
