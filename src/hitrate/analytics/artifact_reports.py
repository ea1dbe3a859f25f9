"""The reports on artifacts, and on a run's tasks, which tell of theirs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hitrate.analytics import queries
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.reports import Reports, ends
from hitrate.analytics.rows import Row, Tokens, run_info, sender
from hitrate.api_schemas import (
    ArtifactDetail,
    ArtifactInfo,
    ArtifactPage,
    ArtifactUse,
    Hits,
    RunDetail,
    StoredArtifact,
    TaskInfo,
)
from hitrate.artifacts.catalog import ArtifactCatalog, CatalogEntry
from hitrate.clock import iso
from hitrate.errors import NotFound, ServiceUnavailable
from hitrate.teams.models import Team

_LOOK_AT_ONCE = 500
_PATIENCE_S = 5.0

Found = dict[str, tuple[Hits, int]]
"""Hash -> hits, and the time that they saved."""


class ArtifactReports:
    """Reads; safe from any thread. Everything may raise EventStoreUnavailable and DatabaseError."""

    def __init__(self, reports: Reports, artifacts: ArtifactCatalog) -> None:
        self._reports = reports
        self._artifacts = artifacts
        self._all = threading.Lock()

    def run(self, team: Team, session_id: str, limit: int, offset: int) -> RunDetail:
        """A run and its tasks. Raises NotFound."""
        row = self._reports.run_row(team, session_id)
        run_id, _, from_ms, to_ms = row[:4]
        values = {"run": run_id, "from_ms": from_ms, "to_ms": to_ms, "team": team.id}
        tasks = self._reports.rows(queries.TASKS, {**values, "limit": limit + 1, "offset": offset})
        more, tasks = len(tasks) > limit, tasks[:limit]
        stored = self._artifacts.find_many(team.id, [task[0] for task in tasks])
        return RunDetail(
            run_info(row, self._reports.tokens([row[-1]])),
            [_task(task, stored.get(task[0])) for task in tasks],
            str(offset + limit) if more else None,
        )

    def artifacts(
        self, scope: ReportQuery, order: str, limit: int, offset: int, *, unused: bool
    ) -> ArtifactPage:
        """The stored artifacts with their hits in the period; `unused` for those without any."""
        if unused:
            with self._looking_at_all():
                listed, following = self._never_hit(scope, order, limit, offset)
        elif order == "hits":
            with self._looking_at_all():
                listed, following = self._most_hit(scope, limit, offset)
        else:
            listed = self._artifacts.page(scope.team_id, order, limit + 1, offset)
            following = offset + limit if len(listed) > limit else None
            listed = listed[:limit]
        hits = self._hits(scope, [one.hash for one in listed])
        known = self._reports.tokens(one.token_id for one in listed)
        return ArtifactPage(
            [_info(one, hits, known) for one in listed],
            None if following is None else str(following),
            **ends(scope),
        )

    def artifact(self, scope: ReportQuery, name: str, limit: int, offset: int) -> ArtifactDetail:
        """An artifact and its uses. Raises NotFound for what is neither stored nor was wanted."""
        stored = self._artifacts.find_many(scope.team_id, [name]).get(name)
        rows = self._uses(scope, name, limit + 1, offset)
        if stored is None and not rows and not (offset and self._uses(scope, name, 1, 0)):
            raise NotFound(
                f"No artifact {name[:80]!a} is stored in this team, and no run wanted it since "
                f"{iso(scope.period.from_ms)}."
            )
        more, rows = len(rows) > limit, rows[:limit]
        senders = [row[-1] for row in rows] + ([stored.token_id] if stored else [])
        known = self._reports.tokens(senders)
        return ArtifactDetail(
            name,
            _info(stored, self._hits(scope, [name]), known) if stored else None,
            [
                ArtifactUse(session_id, iso(at_ms), outcome, int(saved_ms or 0), sender(who, known))
                for session_id, at_ms, outcome, saved_ms, *who in rows
            ],
            str(offset + limit) if more else None,
            **ends(scope),
        )

    def _uses(self, scope: ReportQuery, name: str, limit: int, offset: int) -> list[Row]:
        values = {**_values(scope), "names": [name], "limit": limit, "offset": offset}
        return self._reports.rows(queries.USES, values)

    def _hits(self, scope: ReportQuery, names: list[str]) -> Found:
        rows = self._reports.rows(queries.HITS, {**_values(scope), "names": names})
        return {name: (Hits(local, remote), int(saved or 0)) for name, local, remote, saved in rows}

    @contextmanager
    def _looking_at_all(self) -> Iterator[None]:
        """These two look at all events of the period, so there is one at a time."""
        if not self._all.acquire(timeout=_PATIENCE_S):
            raise ServiceUnavailable(
                "Other reports on all artifacts are being made; ask again in a moment."
            )
        try:
            yield
        finally:
            self._all.release()

    def _most_hit(
        self, scope: ReportQuery, limit: int, offset: int
    ) -> tuple[list[CatalogEntry], int | None]:
        """Those that were hit at all."""
        names = self._artifacts.hashes(scope.team_id)
        rows = self._reports.rows(
            queries.MOST_HIT,
            {**_values(scope), "names": names, "limit": limit + 1, "offset": offset},
        )
        stored = self._artifacts.find_many(scope.team_id, [name for (name,) in rows[:limit]])
        listed = [stored[name] for (name,) in rows[:limit] if name in stored]
        return listed, offset + limit if len(rows) > limit else None

    def _never_hit(
        self, scope: ReportQuery, order: str, limit: int, offset: int
    ) -> tuple[list[CatalogEntry], int | None]:
        if order == "hits":  # they all have as many: none
            order = "newest"
        names = self._artifacts.hashes(scope.team_id)
        rows = self._reports.rows(queries.EVER_HIT, {**_values(scope), "names": names})
        hit = {name for (name,) in rows}
        listed: list[CatalogEntry] = []
        while True:
            some = self._artifacts.page(scope.team_id, order, _LOOK_AT_ONCE, offset)
            for one in some:
                if one.hash not in hit:
                    if len(listed) == limit:
                        return listed, offset
                    listed.append(one)
                offset += 1
            if len(some) < _LOOK_AT_ONCE:
                return listed, None


def _values(scope: ReportQuery) -> dict[str, Any]:
    span = scope.period
    return {"team": scope.team_id, "from_ms": span.from_ms, "to_ms": span.to_ms}


def _task(row: Row, stored: CatalogEntry | None) -> TaskInfo:
    name, outcome, told_ms, saved_ms = row
    duration = told_ms or (stored.duration_ms if stored else told_ms)
    return TaskInfo(name, outcome, duration, int(saved_ms or 0), made(stored) if stored else None)


def made(one: CatalogEntry) -> ArtifactInfo:
    """What is known of a stored artifact."""
    return ArtifactInfo(**_made(one))


def _made(one: CatalogEntry) -> dict[str, Any]:
    return {
        "size_bytes": one.size_bytes,
        "duration_ms": one.duration_ms,
        "created_at": iso(one.created_at_ms),
        "last_used_at": iso(one.used_at_ms),
        "sha": one.sha,
        "dirty_hash": one.dirty_hash,
        "dirty": bool(one.dirty_hash) if one.sha is not None or one.dirty_hash else None,
        "produced_by": one.producer,
    }


def _info(one: CatalogEntry, hits: Found, known: Tokens) -> StoredArtifact:
    found, saved_ms = hits.get(one.hash, (Hits(0, 0), 0))
    return StoredArtifact(
        **_made(one),
        hash=one.hash,
        sender=sender((one.ci, one.interactive, one.agent, one.token_id), known),
        hits=found,
        time_saved_ms=saved_ms,
    )
