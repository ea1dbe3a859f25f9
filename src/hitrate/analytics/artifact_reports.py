"""Reports on artifacts, and on the tasks of a run with their artifacts."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hitrate.analytics import queries
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.reports import Reports, period_fields
from hitrate.analytics.rows import HashRow, HitsRow, TaskRow, UseRow, client, run_info
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
from hitrate.auth.models import Token
from hitrate.clock import iso
from hitrate.errors import NotFound, ServiceUnavailable
from hitrate.http.paging import take_page
from hitrate.teams.models import Team

_CATALOG_BATCH_SIZE = 500
_FULL_SCAN_TIMEOUT_S = 5.0


class ArtifactReports:
    """Reports that join artifacts with the events about them. Thread-safe; reads only.

    All methods may raise EventStoreUnavailable and DatabaseError.
    """

    def __init__(self, reports: Reports, catalog: ArtifactCatalog) -> None:
        self._reports = reports
        self._catalog = catalog
        self._full_scan_lock = threading.Lock()

    def run(self, team: Team, session_id: str, limit: int, offset: int) -> RunDetail:
        """Return a run and one page of its tasks. Raises NotFound."""
        run = self._reports.run_row(team, session_id)
        values = {
            "team": team.id,
            "run": run.id,
            "from_ms": run.started_at,
            "to_ms": run.ended_at,
            "limit": limit + 1,
            "offset": offset,
        }
        tasks, next_cursor = take_page(
            self._reports.fetch(TaskRow, queries.TASKS, values), limit, lambda _: offset + limit
        )
        entries = self._catalog.find_many(team.id, [task.hash for task in tasks])
        return RunDetail(
            run_info(run, self._reports.find_tokens([run.token_id])),
            [_task_info(task, entries.get(task.hash)) for task in tasks],
            next_cursor,
        )

    def artifacts(
        self, query: ReportQuery, order: str, limit: int, offset: int, *, unused: bool
    ) -> ArtifactPage:
        """Return one page of the stored artifacts with their hits in the period.

        The order `hits` leaves out artifacts without hits; `unused` leaves out artifacts with hits.
        Raises ServiceUnavailable while another report reads all events of a period.
        """
        if unused:
            with self._full_scan():
                entries, next_cursor = self._never_hit(query, order, limit, offset)
        elif order == "hits":
            with self._full_scan():
                entries, next_cursor = self._most_hit(query, limit, offset)
        else:
            page = self._catalog.page(query.team_id, order, limit + 1, offset)
            entries, next_cursor = take_page(page, limit, lambda _: offset + limit)
        hits = self._hits(query, [entry.hash for entry in entries])
        tokens = self._reports.find_tokens(entry.token_id for entry in entries)
        return ArtifactPage(
            [_stored_artifact(entry, hits.get(entry.hash), tokens) for entry in entries],
            next_cursor,
            **period_fields(query),
        )

    def artifact(self, query: ReportQuery, name: str, limit: int, offset: int) -> ArtifactDetail:
        """Return an artifact and one page of its uses.

        Raises NotFound if it is not stored and no task requested it in the period.
        """
        entry = self._catalog.find_many(query.team_id, [name]).get(name)
        uses = self._uses(query, name, limit + 1, offset)
        if entry is None and not uses and not (offset and self._uses(query, name, 1, 0)):
            raise NotFound(
                f"No artifact {name[:80]!a} is stored in this team, and no run requested it since "
                f"{iso(query.period.from_ms)}."
            )
        uses, next_cursor = take_page(uses, limit, lambda _: offset + limit)
        senders = [use.token_id for use in uses] + ([entry.token_id] if entry else [])
        tokens = self._reports.find_tokens(senders)
        stored = None
        if entry is not None:
            stored = _stored_artifact(entry, self._hits(query, [name]).get(name), tokens)
        return ArtifactDetail(
            name,
            stored,
            [
                ArtifactUse(
                    use.session_id,
                    iso(use.last_at),
                    use.outcome,
                    use.saved_ms or 0,
                    client(use, tokens),
                )
                for use in uses
            ],
            next_cursor,
            **period_fields(query),
        )

    def _uses(self, query: ReportQuery, name: str, limit: int, offset: int) -> list[UseRow]:
        values = {**query.period_values, "names": [name], "limit": limit, "offset": offset}
        return self._reports.fetch(UseRow, queries.USES, values)

    def _hits(self, query: ReportQuery, names: list[str]) -> dict[str, HitsRow]:
        """Return the hits of artifacts by hash. Artifacts without events are left out."""
        values = {**query.period_values, "names": names}
        return {row.hash: row for row in self._reports.fetch(HitsRow, queries.HITS, values)}

    @contextmanager
    def _full_scan(self) -> Iterator[None]:
        """Allow one report at a time that reads all events of a period."""
        if not self._full_scan_lock.acquire(timeout=_FULL_SCAN_TIMEOUT_S):
            raise ServiceUnavailable(
                "Another report on all artifacts is still running; try again in a moment."
            )
        try:
            yield
        finally:
            self._full_scan_lock.release()

    def _most_hit(
        self, query: ReportQuery, limit: int, offset: int
    ) -> tuple[list[CatalogEntry], str | None]:
        """Return one page of the artifacts that were hit, and the next cursor."""
        names = self._catalog.hashes(query.team_id)
        values = {**query.period_values, "names": names, "limit": limit + 1, "offset": offset}
        rows, next_cursor = take_page(
            self._reports.fetch(HashRow, queries.MOST_HIT, values), limit, lambda _: offset + limit
        )
        entries = self._catalog.find_many(query.team_id, [row.hash for row in rows])
        return [entries[row.hash] for row in rows if row.hash in entries], next_cursor

    def _never_hit(
        self, query: ReportQuery, order: str, limit: int, offset: int
    ) -> tuple[list[CatalogEntry], str | None]:
        """Return one page of the artifacts that were not hit, and the next cursor."""
        if order == "hits":  # all of them have none
            order = "newest"
        names = self._catalog.hashes(query.team_id)
        rows = self._reports.fetch(
            HashRow, queries.EVER_HIT, {**query.period_values, "names": names}
        )
        hit = {row.hash for row in rows}
        page: list[CatalogEntry] = []
        while True:
            batch = self._catalog.page(query.team_id, order, _CATALOG_BATCH_SIZE, offset)
            for entry in batch:
                if entry.hash not in hit:
                    if len(page) == limit:
                        return page, str(offset)
                    page.append(entry)
                offset += 1
            if len(batch) < _CATALOG_BATCH_SIZE:
                return page, None


def _task_info(task: TaskRow, entry: CatalogEntry | None) -> TaskInfo:
    """Convert a task. A hit that reported no duration has that of its artifact."""
    duration_ms: float | None = task.hit_ms
    if not duration_ms and entry:
        duration_ms = entry.duration_ms
    artifact = None if entry is None else ArtifactInfo(**_artifact_fields(entry))
    return TaskInfo(task.hash, task.outcome, duration_ms, task.saved_ms or 0, artifact)


def _artifact_fields(entry: CatalogEntry) -> dict[str, Any]:
    """Return the fields of ArtifactInfo."""
    git_state_known = entry.sha is not None or bool(entry.dirty_hash)
    return {
        "size_bytes": entry.size_bytes,
        "duration_ms": entry.duration_ms,
        "created_at": iso(entry.created_at_ms),
        "last_used_at": iso(entry.used_at_ms),
        "sha": entry.sha,
        "dirty_hash": entry.dirty_hash,
        "dirty": bool(entry.dirty_hash) if git_state_known else None,
        "produced_by": entry.producer,
    }


def _stored_artifact(
    entry: CatalogEntry, hits: HitsRow | None, tokens: Mapping[str, Token]
) -> StoredArtifact:
    return StoredArtifact(
        **_artifact_fields(entry),
        hash=entry.hash,
        sender=client(entry, tokens),
        hits=Hits(hits.local_hits, hits.remote_hits) if hits else Hits(0, 0),
        time_saved_ms=(hits.saved_ms or 0) if hits else 0,
    )
