"""Reports on periods and runs.

The API, the pages, the CLI and the exports take all their numbers from this module and from
`artifact_reports`.
"""

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

from hitrate.analytics import queries
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import bucket_starts
from hitrate.analytics.rows import (
    NO_RUNS,
    NO_TRANSFERS,
    ChangeToken,
    ClientNamesRow,
    Row,
    RunRow,
    RunTotalsRow,
    TokenRow,
    TransferTotalsRow,
    fetch,
    quartiles,
    run_info,
    run_stats,
)
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
from hitrate.http.paging import take_page
from hitrate.teams.models import Team

NO_VALUE_LABELS = {
    "ci": "no CI",
    "interactive": "unknown",
    "agent": "no agent",
    "token": "unknown token",
    "user": "team token",
}
"""Labels of the groups without a value, by property."""

_INTERACTIVE_LABELS = {"true": "interactive", "false": "non-interactive"}


class FilterOptions(NamedTuple):
    """Values to filter a team's runs by: names of CI and agents, and (id, label) of tokens."""

    ci: list[str]
    agents: list[str]
    tokens: list[tuple[str, str]]


class GroupTotals(NamedTuple):
    """Totals of the runs and transfers with one group key."""

    runs: RunTotalsRow = NO_RUNS
    transfers: TransferTotalsRow = NO_TRANSFERS


class Reports:
    """Reports that cover any number of events. Thread-safe; reads only.

    All methods may raise EventStoreUnavailable and DatabaseError.
    """

    def __init__(
        self, store: DuckDBEventStore, artifacts: ArtifactStore, tokens: TokenStore
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._tokens = tokens

    def summary(self, query: ReportQuery) -> Summary:
        """Return the statistics of a period and of the previous one."""
        previous = ReportQuery(query.team_id, query.period.previous, query.filters)
        stored = self.stored(query.team_id)
        stats, previous_stats = self._run_stats(query), self._run_stats(previous)
        transfers = stats.pop("artifacts")
        return Summary(
            **stats,
            artifacts=CacheTraffic(
                transfers.uploads,
                transfers.uploaded_bytes,
                transfers.downloads,
                transfers.downloaded_bytes,
                stored_bytes=stored.size_bytes,
                stored=stored.artifacts,
            ),
            **period_fields(query),
            previous=PreviousPeriod(**previous_stats, **period_fields(previous)),
        )

    def timeseries(self, query: ReportQuery, bucket: str, zone: tzinfo) -> Timeseries:
        """Return the statistics of each bucket. Raises BadRequest for too many buckets."""
        starts = bucket_starts(query.period, bucket, zone)
        values = {**query.values, "starts": starts}
        totals = _group_rows(
            self.fetch(RunTotalsRow, queries.run_totals_by_bucket(query.from_runs), values),
            self.fetch(
                TransferTotalsRow, queries.transfer_totals_by_bucket(query.from_transfers), values
            ),
        )
        buckets = []
        for start, end in zip(starts, [*starts[1:], query.period.to_ms], strict=True):
            group = totals.get(start, GroupTotals())
            buckets.append(
                Bucket(
                    **run_stats(group.runs, group.transfers),
                    hit_rate_quartiles=quartiles(group.runs),
                    from_=iso(start),
                    to=iso(end),
                )
            )
        return Timeseries(bucket, str(zone), buckets, **period_fields(query))

    def breakdown(self, query: ReportQuery, by: str) -> Breakdown:
        """Return the statistics of each value of a property, one of queries.GROUP_KEYS."""
        group_key = queries.GROUP_KEYS[by]
        values = query.values
        if by == "user":
            tokens = self._team_tokens(query.team_id)
            values["tokens"] = list(tokens)
            values["users"] = [t.user.email if t.user else None for t in tokens.values()]
        totals = _group_rows(
            self.fetch(
                RunTotalsRow, queries.run_totals_by_group(query.from_runs, group_key), values
            ),
            self.fetch(
                TransferTotalsRow,
                queries.transfer_totals_by_group(query.from_transfers, group_key),
                values,
            ),
        )
        labels = self._labels(by, totals)
        groups = [
            Group(
                **run_stats(group.runs, group.transfers),
                key=key,
                label=labels[key],
                hit_rate_quartiles=quartiles(group.runs),
            )
            for key, group in totals.items()
        ]
        groups.sort(key=lambda group: (-group.tasks, group.key is None, group.key or ""))
        return Breakdown(by, groups, **period_fields(query))

    def runs(self, query: ReportQuery, order: str, limit: int, offset: int) -> RunPage:
        """Return one page of runs, in one of queries.RUN_ORDERS; the cursor is an offset."""
        values = {**query.values, "limit": limit + 1, "offset": offset}
        rows, next_cursor = take_page(
            self.fetch(RunRow, queries.run_list(query.from_runs, order), values),
            limit,
            lambda _: offset + limit,
        )
        tokens = self.find_tokens(row.token_id for row in rows)
        return RunPage([run_info(row, tokens) for row in rows], next_cursor, **period_fields(query))

    def run(self, team: Team, session_id: str) -> RunInfo:
        """Return one run. Raises NotFound."""
        row = self.run_row(team, session_id)
        return run_info(row, self.find_tokens([row.token_id]))

    def run_row(self, team: Team, session_id: str) -> RunRow:
        """Return one run as a row. Raises NotFound."""
        rows = self.fetch(RunRow, queries.RUN, {"team": team.id, "session": session_id})
        if not rows:
            raise NotFound(
                f"There is no run with the session {session_id[:80]!a} in this team, or its "
                "events have not been loaded yet."
            )
        return rows[0]

    def find_tokens(self, token_ids: Iterable[str | None]) -> dict[str, Token]:
        """Return the existing tokens by id."""
        return self._tokens.find_all({one for one in token_ids if one is not None})

    def stored(self, team_id: str) -> CacheUsage:
        """Return the number and the size of the artifacts that the team stores now."""
        return self._artifacts.usage(team_id)

    def filter_options(self, team_id: str) -> FilterOptions:
        """Return the values by which the team's runs can be filtered."""
        [names] = self.fetch(ClientNamesRow, queries.CLIENT_NAMES, {"team": team_id})
        tokens = self._team_tokens(team_id).values()
        options = sorted(((token.id, token.label or token.id) for token in tokens), key=_label_id)
        return FilterOptions(names.ci or [], names.agents or [], options)

    def change_token(self, team_id: str, since_ms: int) -> ChangeToken:
        """Return a value that is cheap to compute and changes whenever the team's runs change.

        It covers the runs that had events since `since_ms`.
        """
        values = {"team": team_id, "from_ms": since_ms}
        [token] = self.fetch(ChangeToken, queries.TEAM_VERSION, values)
        return token

    def fetch(self, row_type: type[Row], sql: str, values: dict[str, Any]) -> list[Row]:
        """Run a query whose columns are the fields of `row_type`, in order."""
        with self._store.cursor() as cursor:
            return fetch(cursor, row_type, sql, values)

    def _run_stats(self, query: ReportQuery) -> dict[str, Any]:
        """Return the fields of RunStats for all runs of a query."""
        [runs] = self.fetch(RunTotalsRow, queries.run_totals(query.from_runs), query.values)
        [transfers] = self.fetch(
            TransferTotalsRow, queries.transfer_totals(query.from_transfers), query.values
        )
        return run_stats(runs, transfers)

    def _team_tokens(self, team_id: str) -> dict[str, Token]:
        """Return the existing tokens that sent events or artifacts to a team, by id."""
        rows = self.fetch(TokenRow, queries.SENDING_TOKENS, {"team": team_id})
        return self.find_tokens(row.token_id for row in rows)

    def _labels(self, by: str, keys: Iterable[Any]) -> dict[Any, str]:
        """Return a readable name for each group key of a breakdown."""
        labels = {key: NO_VALUE_LABELS[by] if key is None else key for key in keys}
        if by == "interactive":
            labels |= {key: _INTERACTIVE_LABELS[key] for key in labels if key is not None}
        if by == "token":
            tokens = self.find_tokens(labels)
            labels |= {token.id: token.label for token in tokens.values() if token.label}
        return labels


def period_fields(query: ReportQuery) -> dict[str, Any]:
    """Return the fields `from` and `to` of a response."""
    return {"from_": iso(query.period.from_ms), "to": iso(query.period.to_ms)}


def _group_rows(
    runs: Iterable[RunTotalsRow], transfers: Iterable[TransferTotalsRow]
) -> Mapping[Any, GroupTotals]:
    """Join rows of both kinds by their group key; either may lack a key."""
    totals = {row.group_key: GroupTotals(runs=row) for row in runs}
    for row in transfers:
        totals[row.group_key] = totals.get(row.group_key, GroupTotals())._replace(transfers=row)
    return totals


def _label_id(option: tuple[str, str]) -> tuple[str, str]:
    """Sort key of a token option: by label, then by id."""
    token_id, label = option
    return label, token_id
