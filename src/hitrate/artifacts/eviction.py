"""Eviction policy: selects artifacts that have expired, then the least recently used above a limit.

Eviction starts above the high watermark of a size limit and stops at the low one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

import msgspec

from hitrate.artifacts.models import BlobRef
from hitrate.artifacts.store import ArtifactStore
from hitrate.config import Settings

Reason = Literal["expired", "overCacheLimit", "overTeamCacheLimit", "orphanBody", "missingBody"]
"""Reasons for removals by garbage collection; the last two are not evictions."""

EvictionBatch = tuple[Reason, list[BlobRef]]

BATCH_SIZE = 200

# The watermarks lie an eighth and two eighths of the limit below it, but at most 1 and 2 GiB, so
# that uploads can continue during an eviction.
_HEADROOM_DIVISOR = 8
_MAX_HEADROOM_BYTES = 2**30


class CacheLimits(msgspec.Struct, frozen=True):
    """Limits on age since the last use and on stored bytes. None means no limit."""

    ttl_s: float | None
    cache_bytes: int | None
    team_cache_bytes: int | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.artifact_ttl_s, settings.max_cache_bytes, settings.max_team_cache_bytes)


class _Watermarks(NamedTuple):
    """Eviction starts above `high` bytes and stops at `low` bytes."""

    high: int
    low: int


def _watermarks(limit_bytes: int, *, exact: bool) -> _Watermarks:
    """Return the watermarks of a limit: both at the limit itself if `exact`, else below it."""
    headroom = 0 if exact else min(limit_bytes // _HEADROOM_DIVISOR, _MAX_HEADROOM_BYTES)
    return _Watermarks(limit_bytes - headroom, limit_bytes - 2 * headroom)


class EvictionPolicy:
    """Yields batches of artifacts to evict.

    The caller removes each batch before it takes the next one. With `dry_run` the caller removes
    nothing, and the policy remembers what it has selected.
    """

    def __init__(self, store: ArtifactStore, limits: CacheLimits, *, dry_run: bool = False) -> None:
        self._store = store
        self._limits = limits
        self._dry_run = dry_run
        self._selected: set[str] = set()
        self._selected_bytes: Counter[str] = Counter()

    def above_high_watermark(self) -> bool:
        """Return whether eviction should start. Replaced bodies not yet removed count, too."""
        total, team = self._limits.cache_bytes, self._limits.team_cache_bytes
        extra = self._store.replaced_bytes() if total or team else 0
        if total is not None and self._used(None) + extra > _watermarks(total, exact=False).high:
            return True
        return team is not None and any(
            self._used(team_id) + extra > _watermarks(team, exact=False).high
            for team_id in self._store.teams()
        )

    def expired(self, now_ms: int) -> Iterator[EvictionBatch]:
        """Yield artifacts that have not been used for longer than the TTL."""
        if self._limits.ttl_s is None:
            return
        before_ms = now_ms - int(self._limits.ttl_s * 1000)
        while batch := self._oldest(before_ms=before_ms):
            yield "expired", self._select(batch)

    def over_limits(self, *, exact: bool) -> Iterator[EvictionBatch]:
        """Yield the least recently used artifacts above a limit: first per team, then in total."""
        total, team = self._limits.cache_bytes, self._limits.team_cache_bytes
        if team is not None:
            for team_id in self._store.teams():
                for batch in self._over(_watermarks(team, exact=exact), team_id):
                    yield "overTeamCacheLimit", batch
        if total is not None:
            for batch in self._over(_watermarks(total, exact=exact), None):
                yield "overCacheLimit", batch

    def _over(self, watermarks: _Watermarks, team_id: str | None) -> Iterator[list[BlobRef]]:
        if self._used(team_id) <= watermarks.high:
            return
        while (excess := self._used(team_id) - watermarks.low) > 0:
            oldest = self._oldest(team_id=team_id)
            if not oldest:
                return
            yield self._select(_take_bytes(oldest, excess))

    def _oldest(self, *, team_id: str | None = None, before_ms: int | None = None) -> list[BlobRef]:
        limit = -1 if self._dry_run else BATCH_SIZE
        oldest = self._store.index.least_recently_used(
            team_id=team_id, before_ms=before_ms, limit=limit
        )
        return [ref for ref in oldest if ref.blob not in self._selected]

    def _used(self, team_id: str | None) -> int:
        selected = self._selected_bytes
        selected_bytes = selected.total() if team_id is None else selected[team_id]
        return self._store.usage(team_id).size_bytes - selected_bytes

    def _select(self, batch: list[BlobRef]) -> list[BlobRef]:
        if self._dry_run:
            for ref in batch:
                self._selected.add(ref.blob)
                self._selected_bytes[ref.key.team_id] += ref.size_bytes
        return batch


def _take_bytes(refs: Sequence[BlobRef], size_bytes: int) -> list[BlobRef]:
    """Return the first artifacts that together have at least this size."""
    batch: list[BlobRef] = []
    for ref in refs:
        if size_bytes <= 0:
            break
        batch.append(ref)
        size_bytes -= ref.size_bytes
    return batch
