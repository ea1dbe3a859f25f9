"""Who sees and changes what in a team, and what they are told otherwise."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from urllib.parse import quote

import httpx
import pytest

from hitrate.http.cookies import SESSION_COOKIE
from hitrate.http.csrf import csrf_token
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support.dashboard_fixture import LIMITS, House, is_page, send
from tests.support.html_page import Reading, text_of

ANALYTICS = ("", "/runs", "/run?session=one", "/artifacts", "/artifact?hash=one", "/pulse")
PAGES = (*ANALYTICS, "/usage", "/connect", "/settings", "/settings/limits")
SETTINGS = ("/settings", "/settings/limits")

SEEN: dict[Role, set[str]] = {
    Role.OWNER: set(PAGES),
    Role.MEMBER: set(PAGES) - set(SETTINGS),
    Role.DEVELOPER: set(PAGES) - set(SETTINGS) - {"/usage"},
    Role.VIEWER: set(PAGES) - set(SETTINGS),
    Role.BILLING: {"/usage", "/connect"},
}


def test_who_is_not_signed_in_is_asked_to_and_comes_back(unchanged: House) -> None:
    with httpx.Client(base_url=unchanged.place.server.url, verify=False) as nobody:
        for page in PAGES:
            answer = nobody.get(unchanged.path(page), headers={"accept": "text/html"})
            assert answer.status_code == 303
            next_page = quote(unchanged.path(page), safe="/").replace("/", "%2F")
            assert answer.headers["location"] == f"/login?next={next_page}"
        before = unchanged.state()
        for part, form in unchanged.forms().items():
            answer = nobody.post(
                unchanged.path(f"/settings/{part}"), data=form, headers={"accept": "text/html"}
            )
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert nobody.get(unchanged.path("/pulse")).status_code == 401
        assert unchanged.state() == before


@pytest.mark.parametrize("role", Role)
def test_a_role_sees_its_pages_and_is_told_of_no_others(unchanged: House, role: Role) -> None:
    with unchanged.as_(role) as visitor:
        answers = {page: visitor.get(unchanged.path(page)) for page in PAGES}
    seen = {page for page, answer in answers.items() if answer.status_code in (200, 303)}
    assert seen == SEEN[role]
    for page in set(PAGES) - seen:
        assert answers[page].status_code == 403
        assert is_page(answers[page])
        assert f"Your role in this team, {role.value}," in answers[page].text
    tabs = [
        link.get("href", "") for link in Reading(answers["/connect"].text).all(".//main//nav/a")
    ]
    pages = {"", "/runs", "/artifacts", "/usage", "/connect", "/settings"}
    assert set(tabs) == {unchanged.path(page) for page in SEEN[role] & pages}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER], ids=str)
def test_only_owners_change_anything(unchanged: House, role: Role) -> None:
    before = unchanged.state()
    with unchanged.as_(role) as visitor:
        for part, form in unchanged.forms().items():
            answer = send(visitor, unchanged.path(f"/settings/{part}"), form)
            assert answer.status_code == 403, part
            assert is_page(answer)
    assert unchanged.state() == before


def test_an_owner_changes_all_of_it(house: House) -> None:
    with house.as_(Role.OWNER) as visitor:
        for part, form in house.forms().items():
            before = house.state()
            answer = send(visitor, house.path(f"/settings/{part}"), form)
            assert answer.status_code == (200 if part == "tokens" else 303), part
            assert house.state() != before, part
    [newest, *_] = house.place.accounts.audit.page(house.team.id, 1)
    assert newest.actor_name == house.people[Role.OWNER].email


def test_another_team_is_not_there(unchanged: House) -> None:
    before = unchanged.state()
    with unchanged.place.visitor(unchanged.stranger) as visitor:
        unheard_of = visitor.get("/teams/unheard-of")
        for page in PAGES:
            answer = visitor.get(unchanged.path(page))
            assert (answer.status_code, answer.text) == (404, unheard_of.text)
        for part, form in unchanged.forms().items():
            answer = send(visitor, unchanged.path(f"/settings/{part}"), form)
            assert (answer.status_code, answer.text) == (404, unheard_of.text)
        assert visitor.get("/").headers["location"].startswith("/teams/other-")
    assert is_page(unheard_of)
    assert unchanged.state() == before


def test_the_start_is_the_first_page_that_a_role_sees(unchanged: House) -> None:
    for role, page in ((Role.BILLING, "/usage"), (Role.VIEWER, ""), (Role.OWNER, "")):
        with unchanged.as_(role) as visitor:
            assert visitor.get("/").headers["location"] == unchanged.path(page)
    with unchanged.place.visitor(
        unchanged.place.person(f"{uuid.uuid4().hex}@example.com")
    ) as visitor:
        assert visitor.get("/").headers["location"] == "/account"


def test_who_is_demoted_or_removed_or_disabled_loses_access_at_once(house: House) -> None:
    members, owner = house.place.accounts.members, house.people[Role.OWNER]
    second = house.place.person(f"{uuid.uuid4().hex}@example.com", house.team)
    with house.place.visitor(second) as visitor:
        assert visitor.get(house.path("/settings")).status_code == 200
        members.change(house.team, second.id, OPERATOR, role=Role.DEVELOPER)
        assert visitor.get(house.path("/settings")).status_code == 403
        assert send(visitor, house.path("/settings/team"), {"name": "Mine"}).status_code == 403
        assert visitor.get(house.path("/runs")).status_code == 200
        members.remove(house.team, second.id, OPERATOR)
        assert visitor.get(house.path("/runs")).status_code == 404
        assert visitor.get(house.path("/pulse")).status_code == 404
    with house.place.visitor(owner) as visitor:
        assert visitor.get(house.path("/runs")).status_code == 200
        house.place.accounts.users.disable(owner)
        assert visitor.get(house.path("/runs")).status_code == 303
        assert visitor.get(house.path("/pulse"), headers={"accept": "*/*"}).status_code == 401


def test_a_form_from_elsewhere_changes_nothing(unchanged: House) -> None:
    before = unchanged.state()
    forms = unchanged.forms()
    with ExitStack() as visitors:
        visitor = visitors.enter_context(unchanged.as_(Role.OWNER))
        other = visitors.enter_context(unchanged.as_(Role.OWNER))
        mine, others = (csrf_token(str(one.cookies[SESSION_COOKIE])) for one in (visitor, other))
        attempts: list[tuple[dict[str, str], dict[str, str]]] = [
            ({}, {}),
            ({"form_token": ""}, {}),
            ({"form_token": others}, {}),
            ({"form_token": mine[:-1]}, {}),
            ({"form_token": mine}, {"origin": "https://evil.example"}),
            ({"form_token": mine}, {"sec-fetch-site": "cross-site"}),
            ({"form_token": mine}, {"sec-fetch-site": "same-site"}),
        ]
        for part, form in forms.items():
            for seal, headers in attempts:
                path = unchanged.path(f"/settings/{part}")
                answer = visitor.post(path, data={**form, **seal}, headers=headers)
                assert answer.status_code == 403, (part, seal, headers)
                assert is_page(answer)
    assert unchanged.state() == before


@pytest.mark.parametrize(
    ("part", "form", "why"),
    [
        ("team", {"name": ""}, "1 to 100 printable characters"),
        ("team", {"name": "x" * 101}, "1 to 100 printable characters"),
        ("team", {"name": "x", "requests_per_minute": "-1"}, "no whole number"),
        ("team", {"name": "x", "requests_per_minute": "9" * 19}, "no whole number"),
        ("limits", {**LIMITS, "requests": "many"}, "Requests: 'many' is no whole number"),
        ("limits", {**LIMITS, "stored_bytes": "9" * 300 + " TB"}, "Stored: "),
        ("limits", {**LIMITS, "stored_bytes": "9999999 TB"}, "more than there can be"),
        ("limits", {**LIMITS, "price_stored_gb": "cheap"}, "The price of a GB stored for a cycle"),
        ("limits", {**LIMITS, "spend_cap": "-1"}, "The spend cap"),
        ("limits", {**LIMITS, "spend_cap": "NaN"}, "The spend cap"),
        ("limits", {**LIMITS, "currency": "euro"}, "The currency"),
        ("limits", {**LIMITS, "cycle_day": ""}, "The cycle's day"),
        ("limits", {**LIMITS, "cycle_day": "32"}, "The cycle's day"),
        ("limits", {}, "The cycle's day"),
        ("add-member", {"email": "nobody@example.com", "role": "OWNER"}, "There is no user"),
        ("add-member", {"email": "", "role": "OWNER"}, "is not an e-mail address"),
        ("add-member", {"email": "MEMBER", "role": "OWNER"}, "is in the team"),
        ("add-member", {"email": "MEMBER", "role": "KING"}, "Choose a role."),
        ("change-member", {"user": "usr_nobody", "role": "OWNER"}, "Nobody with the id"),
        ("change-member", {"user": "OWNER", "role": "VIEWER"}, "the team's last owner"),
        ("remove-member", {"user": "OWNER"}, "the team's last owner"),
        ("remove-member", {}, "Nobody with the id"),
        ("revoke-token", {"token": "tok_of_others"}, "This team has no such token."),
        ("tokens", {"label": "x"}, "Choose at least one thing"),
        ("tokens", {"label": "x", "scopes": "admin"}, "Choose at least one thing"),
        ("tokens", {"label": "x" * 201, "scopes": "read"}, "200 printable"),
        ("tokens", {"label": "x", "scopes": "read", "days": "0"}, "whole number from 1"),
    ],
)
def test_what_makes_no_sense_changes_nothing_and_is_explained(
    unchanged: House, part: str, form: dict[str, str], why: str
) -> None:
    for name, role in (("email", "MEMBER"), ("user", "OWNER")):
        if form.get(name) == role:
            person = unchanged.people[Role(role)]
            form = {**form, name: person.email if name == "email" else person.id}
    before = unchanged.state()
    with unchanged.as_(Role.OWNER) as visitor:
        answer = send(visitor, unchanged.path(f"/settings/{part}"), form)
    assert answer.status_code == 400
    [problem] = Reading(answer.text).all(".//p[@role='alert']")
    assert why in text_of(problem)
    assert "$" not in text_of(problem)
    assert unchanged.state() == before


def test_no_form_is_too_strange(unchanged: House) -> None:
    before = unchanged.state()
    with unchanged.as_(Role.OWNER) as visitor:
        path = unchanged.path("/settings/team")
        kind = {"content-type": "application/x-www-form-urlencoded"}
        for content, status in (
            (b"", 403),
            (b"\xff\xfe", 400),
            (b"a=1&" * 100, 400),
            (b"x" * 100_000, 413),
            (b"{}", 403),
        ):
            answer = visitor.post(path, content=content, headers=kind)
            assert answer.status_code == status, content[:20]
            assert is_page(answer)
        assert send(visitor, unchanged.path("/settings/nothing"), {}).status_code == 404
    assert unchanged.state() == before
