"""The reports on periods and runs. Every number that the API, the pages, commands and exports show
is made here or in `cache_reports`."""

from collections.abc import Iterable
from datetime import tzinfo
from typing import Any, NamedTuple

from hitrate.analytics import queries
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import bucket_starts
from hitrate.analytics.rows import Row, bands, measures, run_info
from hitrate.api_schemas import (
    Breakdown,
    Bucket,
    CacheTraffic,
    Group,
    PreviousPeriod,
    RunInfo,
    RunPage,
    Summary,
    Timeseries,
)
from hitrate.artifacts.models import CacheUsage
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.models import Token
from hitrate.auth.tokens import TokenStore
from hitrate.clock import iso
from hitrate.errors import NotFound
from hitrate.events.store import DuckDBEventStore
from hitrate.teams.models import Team

NO_VALUE = {
    "ci": "no CI",
    "interactive": "did not say",
    "agent": "no agent",
    "token": "unknown token",
    "user": "a team's token",
}
_IN_WORDS = {"true": "interactive", "false": "not interactive"}


class FilterOptions(NamedTuple):
    """Names of CI and agents, and tokens with their labels."""

    ci: list[str]
    agents: list[str]
    tokens: list[tuple[str, str]]


class Reports:
    """Reads; safe from any thread. Everything may raise EventStoreUnavailable and DatabaseError."""

    def __init__(
        self, store: DuckDBEventStore, artifacts: ArtifactStore, tokens: TokenStore
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._tokens = tokens

    def summary(self, scope: ReportQuery) -> Summary:
        """The period's measures, and those of the one before."""
        before = ReportQuery(scope.team_id, scope.period.previous, scope.filters)
        kept = self.stored(scope.team_id)
        now, then = self._measures(scope), self._measures(before)
        moved = now.pop("artifacts")
        return Summary(
            **now,
            artifacts=CacheTraffic(
                moved.uploads,
                moved.uploaded_bytes,
                moved.downloads,
                moved.downloaded_bytes,
                stored_bytes=kept.size_bytes,
                stored=kept.artifacts,
            ),
            **ends(scope),
            previous=PreviousPeriod(**then, **ends(before)),
        )

    def timeseries(self, scope: ReportQuery, bucket: str, zone: tzinfo) -> Timeseries:
        """The measures over time. Raises BadRequest for too many buckets."""
        starts = bucket_starts(scope.period, bucket, zone)
        rows = self._keyed(scope, queries.TIMESERIES, queries.MOVED_IN_TIME, {"starts": starts})
        stops = [*starts[1:], scope.period.to_ms]
        buckets = [
            Bucket(
                **measures(*rows.get(start, (None, None))),
                hit_rate_quartiles=bands(rows.get(start, (None, None))[0]),
                from_=iso(start),
                to=iso(stop),
            )
            for start, stop in zip(starts, stops, strict=True)
        ]
        return Timeseries(bucket, str(zone), buckets, **ends(scope))

    def breakdown(self, scope: ReportQuery, by: str) -> Breakdown:
        """The measures of runs that have something in common."""
        values: dict[str, Any] = {}
        if by == "user":
            whose = self._tokens_of_team(scope.team_id)
            values["tokens"] = list(whose)
            values["users"] = [t.user.email if t.user else None for t in whose.values()]
        key = queries.KEYS[by]
        rows = self._keyed(scope, queries.BREAKDOWN, queries.MOVED_BY_KEY, values, key=key)
        known = self.tokens(rows) if by == "token" else {}
        groups = [
            Group(
                **measures(*found),
                key=value,
                label=_label(by, value, known),
                hit_rate_quartiles=bands(found[0]),
            )
            for value, found in rows.items()
        ]
        groups.sort(key=lambda group: (-group.tasks, group.key is None, group.key or ""))
        return Breakdown(by, groups, **ends(scope))

    def runs(self, scope: ReportQuery, order: str, limit: int, offset: int) -> RunPage:
        """The period's runs; `next_cursor` is the offset of the next page."""
        clause, values = scope.runs()
        query = queries.RUNS.format(runs=clause, order=queries.ORDERS[order])
        rows = self.rows(query, {**values, "limit": limit + 1, "offset": offset})
        more, rows = len(rows) > limit, rows[:limit]
        known = self.tokens(row[-1] for row in rows)
        return RunPage(
            [run_info(row, known) for row in rows],
            str(offset + limit) if more else None,
            **ends(scope),
        )

    def run_row(self, team: Team, session_id: str) -> Row:
        """A run, as queries.RUN has it. Raises NotFound."""
        rows = self.rows(queries.ONE_RUN, {"team": team.id, "session": session_id})
        if not rows:
            raise NotFound(
                f"There is no run with the session {session_id[:80]!a} in this team, or its "
                "events have not been loaded yet."
            )
        return rows[0]

    def run(self, team: Team, session_id: str) -> RunInfo:
        """One run. Raises NotFound."""
        row = self.run_row(team, session_id)
        return run_info(row, self.tokens([row[-1]]))

    def tokens(self, token_ids: Iterable[str | None]) -> dict[str, Token]:
        """Those that are known."""
        return self._tokens.find_all({one for one in token_ids if one is not None})

    def stored(self, team_id: str) -> CacheUsage:
        """What the team stores now."""
        return self._artifacts.usage(team_id)

    def filter_options(self, team_id: str) -> FilterOptions:
        """Who sends to the team: what may be filtered by."""
        [(ci, agents)] = self.rows(queries.FILTER_OPTIONS, {"team": team_id})
        tokens = self._tokens_of_team(team_id).values()
        named = sorted((token.label or token.id, token.id) for token in tokens)
        return FilterOptions(
            ci or [], agents or [], [(token_id, label) for label, token_id in named]
        )

    def change_token(self, team_id: str, since_ms: int) -> tuple[int, int]:
        """Something that changes whenever the team's runs do: cheap to ask for often."""
        [row] = self.rows(queries.TEAM_VERSION, {"team": team_id, "from_ms": since_ms})
        return (row[0], row[1])

    def rows(self, query: str, values: dict[str, Any]) -> list[Row]:
        """What a query answers."""
        with self._store.cursor() as cursor:
            return cursor.execute(query, values).fetchall()

    def _measures(self, scope: ReportQuery) -> dict[str, Any]:
        runs, values = scope.runs()
        transfers, moved_values = scope.transfers()
        [row] = self.rows(queries.SUMMARY.format(runs=runs), values)
        [moved] = self.rows(queries.MOVED_IN_ALL.format(transfers=transfers), moved_values)
        return measures(row, moved)

    def _keyed(
        self, scope: ReportQuery, counted: str, moved: str, more: dict[str, Any], key: str = ""
    ) -> dict[Any, tuple[Row | None, Row | None]]:
        """By the first column: a row of MEASURES and one of MOVED, where there are any."""
        runs, values = scope.runs()
        transfers, moved_values = scope.transfers()
        found: dict[Any, tuple[Row | None, Row | None]] = {}
        for first, *row in self.rows(counted.format(runs=runs, key=key), {**values, **more}):
            found[first] = (tuple(row), None)
        query = moved.format(transfers=transfers, key=key)
        for first, *row in self.rows(query, {**moved_values, **more}):
            found[first] = (found.get(first, (None, None))[0], tuple(row))
        return found

    def _tokens_of_team(self, team_id: str) -> dict[str, Token]:
        ids = self.rows(queries.SENDING_TOKENS, {"team": team_id})
        return self.tokens(token_id for (token_id,) in ids)


def ends(scope: ReportQuery) -> dict[str, Any]:
    """The fields `from` and `to`."""
    return {"from_": iso(scope.period.from_ms), "to": iso(scope.period.to_ms)}


def _label(by: str, key: str | None, known: dict[str, Token]) -> str:
    if key is None:
        return NO_VALUE[by]
    if by == "interactive":
        return _IN_WORDS[key]
    if by == "token":
        return known[key].label or key if key in known else key
    return key
