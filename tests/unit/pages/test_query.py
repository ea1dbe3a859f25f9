"""What a page was asked, by its address."""

from __future__ import annotations

from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import pytest

from hitrate.analytics.reports import FilterOptions, Reports
from hitrate.auth.sessions import Session
from hitrate.clock import ManualClock
from hitrate.errors import BadRequest
from hitrate.http.litestar import AnyRequest
from hitrate.pages.context import Visit
from hitrate.pages.query import Question, choices, question_of
from hitrate.roles import Role
from hitrate.teams.models import Member, Team, User

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
USER = User("usr", "ann@example.com", "ann", "Ann", 0, None, True)
TEAM = Team("team_1", "web", "Web", 0)
MEMBER = Member(TEAM, USER, Role.OWNER, True, 0)


class Address(NamedTuple):
    """As much of a request as a question is read from."""

    query_params: dict[str, str]


def asked(**query: str) -> Question:
    request = cast("AnyRequest", Address(query))
    visit = Visit(request, Session(USER, "secret"), MEMBER, [MEMBER], ZoneInfo("UTC"))
    return question_of(request, visit, ManualClock(NOW_MS))


def test_what_was_not_asked_is_the_last_30_days_of_the_whole_team() -> None:
    question = asked()
    assert question.scope.team_id == TEAM.id
    span = question.scope.period
    assert (span.from_ms, span.to_ms) == (NOW_MS - 30 * DAY_MS, NOW_MS + 1)
    assert question.query == {"since": "30d"}
    assert question.words == "30 days before"


def test_empty_fields_of_a_form_are_as_good_as_none() -> None:
    assert asked(since="", until="", ci="", agent="", bucket="") == asked()


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2027-01-01", "until": "2027-01-02"},
        {"since": "2027-01-01/2027-01-02"},
        {"since": "2027-01-01/", "until": "2027-01-02"},
    ],
)
def test_both_ends_of_a_period_may_come_as_one(query: dict[str, str]) -> None:
    question = asked(**query)
    assert question.scope.period.to_ms - question.scope.period.from_ms == DAY_MS
    assert question.query == {"since": "2027-01-01/2027-01-02"}
    assert question.words == "period before"
    assert asked(**question.query) == question


def test_a_link_to_the_same_question_asks_the_same() -> None:
    question = asked(since="7d", ci="GITHUB_ACTIONS", interactive="false", agent="none", token="t")
    assert asked(**question.query) == question
    assert question.filters == {
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
def test_charts_have_about_as_many_parts_as_fit(since: str, bucket: str) -> None:
    assert asked(since=since).bucket == bucket


def test_the_parts_may_be_chosen() -> None:
    assert asked(since="365d", bucket="day").bucket == "day"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"since": "yesterday"}, "since is 'yesterday'"),
        ({"since": "7d", "until": "30d"}, "since is not before until"),
        ({"since": "2027-01-02/2027-01-01"}, "since is not before until"),
        ({"until": "2027-99-99"}, "until is '2027-99-99'"),
        ({"interactive": "perhaps"}, "interactive is 'perhaps'"),
        ({"bucket": "year"}, "send one of hour, day, week, month"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(query: dict[str, str], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        asked(**query)


class Reported:
    """Reports of a team to which one CI sends, and a client that says nothing."""

    def filter_options(self, _team_id: str) -> FilterOptions:
        return FilterOptions(["", "GITHUB_ACTIONS"], [], [("tok_1", "pipeline")])


def offered(**query: str) -> dict[str, Any]:
    found: dict[str, Any] = choices(cast("Reports", Reported()), asked(**query))["offered"]
    return {name: [value for value, _ in values] for name, (_, values) in found.items()}


def test_what_may_be_filtered_by_is_what_was_sent() -> None:
    assert offered() == {
        "ci": ["any", "GITHUB_ACTIONS", "none"],
        "interactive": ["true", "false", "none"],
        "agent": ["any", "none"],
        "token": ["tok_1"],
    }


def test_a_filter_that_is_set_is_offered_whatever_it_is() -> None:
    assert offered(ci="JENKINS", interactive="1", token="tok_gone") == {
        "ci": ["any", "GITHUB_ACTIONS", "none", "JENKINS"],
        "interactive": ["true", "false", "none", "1"],
        "agent": ["any", "none"],
        "token": ["tok_1", "tok_gone"],
    }
