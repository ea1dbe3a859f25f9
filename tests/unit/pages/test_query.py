"""The query string of a page: period, filters and the choices of the filter bar."""

from __future__ import annotations

from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import pytest

from hitrate.analytics.reports import FilterOptions, Reports
from hitrate.auth.sessions import Session
from hitrate.clock import ManualClock
from hitrate.errors import BadRequest
from hitrate.http.litestar import AnyRequest
from hitrate.pages.context import PageContext
from hitrate.pages.query import PageQuery, filter_bar, parse_query
from hitrate.roles import Role
from hitrate.teams.models import Member, Team, User

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
USER = User("usr", "ann@example.com", "ann", "Ann", 0, None, True)
TEAM = Team("team_1", "web", "Web", 0)
MEMBER = Member(TEAM, USER, Role.OWNER, True, 0)
CONTEXT = PageContext(Session(USER, "secret"), MEMBER, [MEMBER], ZoneInfo("UTC"))


class FakeRequest(NamedTuple):
    """The part of a request that a query is parsed from."""

    query_params: dict[str, str]


def parse(**params: str) -> PageQuery:
    request = cast("AnyRequest", FakeRequest(params))
    return parse_query(request, CONTEXT, ManualClock(NOW_MS))


def test_default_query_is_the_last_30_days_of_the_whole_team() -> None:
    query = parse()
    assert query.report.team_id == TEAM.id
    period = query.report.period
    assert (period.from_ms, period.to_ms) == (NOW_MS - 30 * DAY_MS, NOW_MS + 1)
    assert query.params == {"since": "30d"}
    assert query.previous_period == "previous 30 days"


def test_empty_parameters_equal_missing_parameters() -> None:
    assert parse(since="", until="", ci="", agent="", bucket="") == parse()


@pytest.mark.parametrize(
    "params",
    [
        {"since": "2027-01-01", "until": "2027-01-02"},
        {"since": "2027-01-01/2027-01-02"},
        {"since": "2027-01-01/", "until": "2027-01-02"},
    ],
)
def test_since_may_contain_both_ends_of_a_period(params: dict[str, str]) -> None:
    query = parse(**params)
    assert query.report.period.to_ms - query.report.period.from_ms == DAY_MS
    assert query.params == {"since": "2027-01-01/2027-01-02"}
    assert query.previous_period == "previous period"
    assert parse(**query.params) == query


def test_link_parameters_parse_to_the_same_query() -> None:
    query = parse(since="7d", ci="GITHUB_ACTIONS", interactive="false", agent="none", token="t")
    assert parse(**query.params) == query
    assert query.filters == {
        "ci": "GITHUB_ACTIONS",
        "interactive": "false",
        "agent": "none",
        "token": "t",
    }


@pytest.mark.parametrize(
    ("since", "bucket"),
    [
        ("24h", "hour"),
        ("2d", "day"),
        ("7d", "day"),
        ("90d", "day"),
        ("365d", "week"),
        ("401d", "month"),
        ("10000d", "month"),
    ],
)
def test_default_bucket_suits_the_length_of_the_period(since: str, bucket: str) -> None:
    assert parse(since=since).bucket == bucket


def test_chosen_bucket_replaces_the_default() -> None:
    assert parse(since="365d", bucket="day").bucket == "day"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"since": "yesterday"}, "since is 'yesterday'"),
        ({"since": "7d", "until": "30d"}, "since is not before until"),
        ({"since": "2027-01-02/2027-01-01"}, "since is not before until"),
        ({"until": "2027-99-99"}, "until is '2027-99-99'"),
        ({"interactive": "perhaps"}, "interactive is 'perhaps'"),
        ({"bucket": "year"}, "send one of hour, day, week, month"),
    ],
)
def test_invalid_parameters_are_rejected_with_the_reason(
    params: dict[str, str], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        parse(**params)


class FakeReports:
    """Reports of a team with one CI and a client that sends no metadata."""

    def filter_options(self, _team_id: str) -> FilterOptions:
        return FilterOptions(["", "GITHUB_ACTIONS"], [], [("tok_1", "pipeline")])


def filter_values(**params: str) -> dict[str, list[str]]:
    """Return the values that the filter bar offers, by filter."""
    values: dict[str, Any] = filter_bar(cast("Reports", FakeReports()), parse(**params))
    return {
        name: [value for value, _ in choices] for name, (_, _, choices) in values["filters"].items()
    }


def test_filter_bar_offers_what_clients_have_sent() -> None:
    assert filter_values() == {
        "ci": ["any", "GITHUB_ACTIONS", "none"],
        "interactive": ["true", "false", "none"],
        "agent": ["any", "none"],
        "token": ["tok_1"],
    }


def test_filter_bar_offers_the_current_filter_even_if_unknown() -> None:
    assert filter_values(ci="JENKINS", interactive="1", token="tok_deleted") == {
        "ci": ["any", "GITHUB_ACTIONS", "none", "JENKINS"],
        "interactive": ["true", "false", "none", "1"],
        "agent": ["any", "none"],
        "token": ["tok_1", "tok_deleted"],
    }
