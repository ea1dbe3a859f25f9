"""Which artifacts have to go: the unused, then the least recently used over a cap."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from hitrate.artifacts.index import Stored
from hitrate.artifacts.store import ArtifactStore

Reason = Literal["unused", "over_cap", "team_over_cap", "orphan_file", "missing_file"]
Some = tuple[Reason, list[Stored]]

SOME = 200
# Below a cap by an eighth of it, but no more than a gigabyte: uploads go on while room is made.
_SLACK_PARTS = 8
_SLACK_MOST_BYTES = 2**30


class Limits(msgspec.Struct, frozen=True):
    """None is no limit."""

    ttl_s: float | None
    cache_bytes: int | None
    team_cache_bytes: int | None


class _Marks(NamedTuple):
    """Above `start_bytes` collecting starts, at `stop_bytes` it stops."""

    start_bytes: int
    stop_bytes: int


def _marks(cap_bytes: int, *, exact: bool) -> _Marks:
    """At the cap itself, or below it, so that uploads that arrive meanwhile find room."""
    slack = 0 if exact else min(cap_bytes // _SLACK_PARTS, _SLACK_MOST_BYTES)
    return _Marks(cap_bytes - slack, cap_bytes - 2 * slack)


class EvictionPolicy:
    """Yields what has to go, some at a time; the caller removes it before it asks for more, or,
    when `pretend` is set, only counts it."""

    def __init__(self, store: ArtifactStore, limits: Limits, *, pretend: bool = False) -> None:
        self._store = store
        self._limits = limits
        self._pretend = pretend
        self._pretended: set[str] = set()
        self._pretended_bytes: Counter[str] = Counter()

    def near_a_cap(self) -> bool:
        """Whether collecting should start; what was replaced but is not yet removed counts too."""
        whole, team = self._limits.cache_bytes, self._limits.team_cache_bytes
        extra = self._store.replaced_bytes() if whole or team else 0
        if whole is not None and self._used(None) + extra > _marks(whole, exact=False).start_bytes:
            return True
        return team is not None and any(
            self._used(team_id) + extra > _marks(team, exact=False).start_bytes
            for team_id in self._store.teams()
        )

    def unused(self, now_ms: int) -> Iterator[Some]:
        """What was not used for longer than its time to live."""
        if self._limits.ttl_s is None:
            return
        before_ms = now_ms - int(self._limits.ttl_s * 1000)
        while some := self._oldest(before_ms=before_ms):
            yield "unused", self._take(some)

    def over_caps(self, *, exact: bool) -> Iterator[Some]:
        """The least recently used of what is over a cap: of each team, then of all."""
        whole, team = self._limits.cache_bytes, self._limits.team_cache_bytes
        if team is not None:
            for team_id in self._store.teams():
                for some in self._over(_marks(team, exact=exact), team_id):
                    yield "team_over_cap", some
        if whole is not None:
            for some in self._over(_marks(whole, exact=exact), None):
                yield "over_cap", some

    def _over(self, marks: _Marks, team_id: str | None) -> Iterator[list[Stored]]:
        if self._used(team_id) <= marks.start_bytes:
            return
        while (surplus := self._used(team_id) - marks.stop_bytes) > 0:
            oldest = self._oldest(team_id=team_id)
            if not oldest:
                return
            yield self._take(_first_bytes(oldest, surplus))

    def _oldest(self, *, team_id: str | None = None, before_ms: int | None = None) -> list[Stored]:
        limit = -1 if self._pretend else SOME
        oldest = self._store.index.least_recent(team_id=team_id, before_ms=before_ms, limit=limit)
        return [stored for stored in oldest if stored.blob not in self._pretended]

    def _used(self, team_id: str | None) -> int:
        pretended = self._pretended_bytes
        gone = pretended.total() if team_id is None else pretended[team_id]
        return self._store.usage(team_id).size_bytes - gone

    def _take(self, some: list[Stored]) -> list[Stored]:
        if self._pretend:
            for stored in some:
                self._pretended.add(stored.blob)
                self._pretended_bytes[stored.key.team_id] += stored.size_bytes
        return some


def _first_bytes(oldest: Sequence[Stored], size_bytes: int) -> list[Stored]:
    some: list[Stored] = []
    for stored in oldest:
        if size_bytes <= 0:
            break
        some.append(stored)
        size_bytes -= stored.size_bytes
    return some
