"""Each query has the columns of its row type, in the same order."""

from typing import NamedTuple

import pytest

from hitrate.analytics import queries, rows
from hitrate.analytics.filters import ReportQuery
from hitrate.analytics.period import Period
from tests.support.analytics_fixture import TEAM_ID, AnalyticsFixture

QUERY = ReportQuery(TEAM_ID, Period(0, 1))
VALUES = {
    **QUERY.values,
    "starts": [0],
    "tokens": [],
    "users": [],
    "session": "",
    "run": 0,
    "names": [],
    "limit": 1,
    "offset": 0,
}
QUERIES: dict[str, tuple[type[NamedTuple], str]] = {
    "run totals": (rows.RunTotalsRow, queries.run_totals(QUERY.from_runs)),
    "transfer totals": (rows.TransferTotalsRow, queries.transfer_totals(QUERY.from_transfers)),
    "run totals by bucket": (rows.RunTotalsRow, queries.run_totals_by_bucket(QUERY.from_runs)),
    "transfer totals by bucket": (
        rows.TransferTotalsRow,
        queries.transfer_totals_by_bucket(QUERY.from_transfers),
    ),
    **{
        f"run totals by {by}": (
            rows.RunTotalsRow,
            queries.run_totals_by_group(QUERY.from_runs, group_key),
        )
        for by, group_key in queries.GROUP_KEYS.items()
    },
    **{
        f"transfer totals by {by}": (
            rows.TransferTotalsRow,
            queries.transfer_totals_by_group(QUERY.from_transfers, group_key),
        )
        for by, group_key in queries.GROUP_KEYS.items()
    },
    **{
        f"runs by {order}": (rows.RunRow, queries.run_list(QUERY.from_runs, order))
        for order in queries.RUN_ORDERS
    },
    "run": (rows.RunRow, queries.RUN),
    "tasks": (rows.TaskRow, queries.TASKS),
    "hits": (rows.HitsRow, queries.HITS),
    "uses": (rows.UseRow, queries.USES),
    "ever hit": (rows.HashRow, queries.EVER_HIT),
    "most hit": (rows.HashRow, queries.MOST_HIT),
    "client names": (rows.ClientNamesRow, queries.CLIENT_NAMES),
    "sending tokens": (rows.TokenRow, queries.SENDING_TOKENS),
    "team version": (rows.ChangeToken, queries.TEAM_VERSION),
}


@pytest.mark.parametrize(("row_type", "sql"), QUERIES.values(), ids=QUERIES)
def test_query_has_the_columns_of_its_row_type(
    analytics: AnalyticsFixture, row_type: type[NamedTuple], sql: str
) -> None:
    values = {name: value for name, value in VALUES.items() if f"${name}" in sql}
    with analytics.event_store() as event_store, event_store.duckdb.cursor() as cursor:
        cursor.execute(sql, values)
        assert tuple(column[0] for column in cursor.description or ()) == row_type._fields
