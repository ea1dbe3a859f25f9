"""Who sees and changes what; and that neither odd names nor odd addresses break a page."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from hitrate.accounts.model import OPERATOR, Role, Team, User
from hitrate.clock import Clock
from hitrate.login.site import SESSION, form_token
from tests.dashboard.reading import Reading, text_of
from tests.dashboard.story import Place, Sender, miss, place_of, remote_hit
from tests.faults.test_store_away import locked
from tests.support.browser import errors_of
from tests.support.server import Server

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

LIMITS = {f"price_{name}": "1" for name in ("uploaded_gb", "downloaded_gb")} | {
    "currency": "EUR",
    "cycle_day": "3",
    "requests": "10",
}


@dataclass(frozen=True)
class House:
    """A team with somebody in each role, one run, and somebody from next door."""

    place: Place
    team: Team
    people: dict[Role, User]
    stranger: User
    sender: Sender

    def path(self, page: str) -> str:
        return f"/teams/{self.team.slug}{page}"

    def as_(self, role: Role) -> Any:
        return self.place.visitor(self.people[role])

    def forms(self) -> dict[str, dict[str, str]]:
        """What each form of the settings page may send, by its address."""
        [token, *_] = self.place.accounts.tokens.of_team(self.team)
        viewer = self.people[Role.VIEWER].id
        return {
            "team": {"name": "Renamed", "requests_per_minute": "5"},
            "limits": LIMITS,
            "add-member": {"email": self.stranger.email, "role": "OWNER"},
            "change-member": {"user": viewer, "role": "OWNER"},
            "remove-member": {"user": viewer},
            "revoke-token": {"token": token.id},
            "tokens": {"label": "mine", "scopes": "read"},
        }

    def state(self) -> object:
        """All that forms could change, and the log of changes."""
        accounts = self.place.accounts
        return (
            accounts.teams.find(team_id=self.team.id),
            [(one.user.id, one.role, one.remote_caching) for one in self.members()],
            [(one.id, one.revoked_at_ms) for one in accounts.tokens.of_team(self.team)],
            [entry.action for entry in accounts.audit.page(self.team.id, 100)],
        )

    def members(self) -> Any:
        return self.place.accounts.members.of_team(self.team)


@pytest.fixture
def house(place: Place) -> House:
    """One of the test's own."""
    return build_house(place)


@pytest.fixture(scope="module")
def unchanged(place: Place) -> Iterator[House]:
    """One in which nothing changes, whatever tests try."""
    house = build_house(place)
    before = house.state()
    yield house
    assert house.state() == before


def build_house(place: Place) -> House:
    name = uuid.uuid4().hex[:8]
    team, other = place.team(f"house-{name}"), place.team(f"other-{name}")
    people = {
        role: place.person(f"{role.value.lower()}-{name}@example.com", team, role=role)
        for role in Role
    }
    stranger = place.person(f"stranger-{name}@example.com", other)
    sender = place.sender(team, "pipeline")
    place.post(sender, miss("one", "one"))
    place.ask(sender, "/v1/usage/summary")
    return House(place, team, people, stranger, sender)


def send(visitor: httpx.Client, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
    """Send a form as a page that was made for this visitor does."""
    sealed = {"form_token": form_token(str(visitor.cookies[SESSION])), **form}
    return visitor.post(path, data=sealed, headers=headers)


def is_page(answer: httpx.Response) -> bool:
    """A whole page with its policy, and not a framework's own words."""
    policy = answer.headers.get("content-security-policy", "")
    return "<h1>" in answer.text and "default-src 'none'" in policy


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
        mine, others = (form_token(str(one.cookies[SESSION])) for one in (visitor, other))
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


ODD = {
    "markup": "<script>alert(1)</script>",
    "an attribute": "\"'><img src=x onerror=alert(1)>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "an address": "a/b?c=d&e=f#g%2F..%00;h",
    "a path": "../../settings",
    "right to left": "\u202eشحن\u202c abc",
    "letters of the world": "naïve-日本-🙂",
    "spaces": " a  b ",
    "nothing": "",
    "very long": "x" * 1024,
    "a nul": "a\x00b",
    "lines": "a\r\nb\tc",
}


def shown(text: str) -> str:
    """As it reads on a page."""
    return " ".join(text.split()) or "(empty)"


@pytest.mark.parametrize("name", ODD)
def test_odd_sessions_and_hashes_are_shown_and_found(house: House, name: str) -> None:
    odd = ODD[name]
    house.place.post(house.sender, [*miss(odd, odd), *remote_hit("plain", odd, 1500)])
    house.place.ask(house.sender, "/v1/usage/summary")
    with house.as_(Role.OWNER) as visitor:
        runs = read(visitor.get(house.path("/runs")))
        assert len(runs.table("Runs")) == 3
        [link] = [
            link
            for row in runs.table("Runs")
            for link in row.links
            if link not in (house.path("/run?session=one"), house.path("/run?session=plain"))
        ]
        run = read(visitor.get(link))
        if odd:
            assert shown(odd) in text_of(run.all(".//section")[0])
        [task] = run.table("tasks")
        assert task["Hash"] == shown(odd)
        artifact = read(visitor.get(task.links[0]))
        assert shown(odd) in text_of(artifact.all(".//h1")[0])
        assert {row.links[0] for row in artifact.table("uses")} == {
            link,
            house.path("/run?session=plain"),
        }


def read(answer: httpx.Response) -> Reading:
    assert answer.status_code == 200, answer.text
    return Reading(answer.text)


@pytest.fixture
def odd_team(place: Place) -> Iterator[tuple[Team, User]]:
    """A team in which all is called by odd names, as far as they may be."""
    for_title = ODD["an attribute"]
    team = place.team(f"odd-{uuid.uuid4().hex[:8]}", for_title)
    owner = place.person(f"{uuid.uuid4().hex}@example.com", team)
    place.person(f"'<b>bob</b>'{uuid.uuid4().hex}@example.com", team)
    for text in (text for name, text in ODD.items() if name not in ("a nul", "lines")):
        label = text if text.isprintable() else "plain"
        sender = place.sender(team, label[:200]).saying(ci=text.strip()[:50], agent=text.strip())
        place.post(sender, miss(text, text))
    place.ask(sender, "/v1/usage/summary")
    yield team, owner


def test_no_name_does_anything(page: Page, place: Place, odd_team: tuple[Team, User]) -> None:
    team, owner = odd_team
    place.let_in(page, owner)
    page.on("dialog", lambda _dialog: pytest.fail("a script of a name was run"))
    for path in ("", "/runs", "/settings", "/usage"):
        page.goto(f"{place.server.url}/teams/{team.slug}{path}")
        assert page.locator("img, main script, main b").count() == 0
        assert page.title().startswith(
            f"{page.get_by_role('heading', level=1).inner_text()} · \"'>"
        )
        assert errors_of(page) == []
    page.goto(f"{place.server.url}/teams/{team.slug}")
    expect(page.get_by_role("region", name="By agent").first).to_contain_text(ODD["markup"])
    page.get_by_role("combobox", name="Agent").select_option(ODD["an address"])
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#runs strong")).to_have_text("1")
    page.get_by_role("region", name="By agent").last.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/runs\?"))
    expect(page.locator("#in-short")).to_contain_text("1 run began")


BAD: list[tuple[str, dict[str, str]]] = [
    *((page, {"since": "yesterday"}) for page in ("", "/runs", "/artifacts", "/artifact")),
    *((page, {"since": "1d", "until": "2d"}) for page in ("", "/runs", "/artifacts", "/artifact")),
    *(("", {"interactive": text}) for text in ("2", "TRUE", "'")),
    *(
        (page, {"cursor": text})
        for page in ("/runs", "/run")
        for text in ("-1", "x", "٣", "9" * 19)
    ),
    *(("/artifacts", {"cursor": text}) for text in ("1.5", "0x1", " 1")),
    ("/runs", {"order": "by magic"}),
    ("/artifacts", {"order": "best"}),
    ("", {"bucket": "year"}),
    ("", {"since": "365d", "bucket": "hour"}),
    ("", {"since": "1970-01-01", "until": "2100-01-01"}),
    ("", {"since": "9" * 400 + "d"}),
    ("", {"since": "2027-13-45"}),
    ("", {"since": "7d/8d"}),
    ("", {"since": "/2027-13-45"}),
    ("", {"since": "\x00"}),
]


def test_a_bad_address_is_a_page_that_says_why(unchanged: House) -> None:
    with unchanged.as_(Role.OWNER) as visitor:
        for page, query in BAD:
            given = {"session": "one", "hash": "one", **query}
            answer = visitor.get(unchanged.path(page), params=given)
            assert answer.status_code == 400, (page, query)
            assert is_page(answer)
            assert Reading(answer.text).all(".//p[@role='alert']")


def test_what_is_not_there_is_a_page_that_says_so(unchanged: House) -> None:
    with unchanged.as_(Role.OWNER) as visitor:
        for page in ("/run", "/run?session=two", "/artifact?hash=two", "/artifact?hash=%00"):
            answer = visitor.get(unchanged.path(page))
            assert answer.status_code == 404, page
            assert is_page(answer)


def test_beyond_the_end_of_a_list_there_is_a_way_back(unchanged: House) -> None:
    with unchanged.as_(Role.OWNER) as visitor:
        for page in ("/runs?", "/run?session=one&", "/artifacts?", "/artifact?hash=one&"):
            answer = visitor.get(unchanged.path(f"{page}cursor=999999999999999999"))
            assert answer.status_code == 200, page
            assert "There are no more." in answer.text
            assert ">First page</a>" in answer.text


TEXT = st.text(max_size=20) | st.sampled_from(["7d", "any", "none", "true", "day", "0", "1", "/"])
NAMES = ("since", "until", "ci", "interactive", "agent", "token", "order", "cursor", "bucket",
         "unused", "session", "hash")  # fmt: skip


@pytest.fixture(scope="module")
def owner_of_one(place: Place) -> Iterator[tuple[httpx.Client, str]]:
    """Somebody with one run, and the way to their pages."""
    team = place.team(f"one-{uuid.uuid4().hex[:8]}")
    owner = place.person(f"{uuid.uuid4().hex}@example.com", team)
    place.post(sender := place.sender(team, ""), miss("one", "one"))
    place.ask(sender, "/v1/usage/summary")
    with place.visitor(owner) as visitor:
        yield visitor, f"/teams/{team.slug}"


@settings(max_examples=60)
@given(
    st.sampled_from(["", "/runs", "/run", "/artifacts", "/artifact"]),
    st.dictionaries(st.sampled_from(NAMES), TEXT, max_size=4),
)
def test_no_address_is_too_strange(
    owner_of_one: tuple[httpx.Client, str], page: str, query: dict[str, str]
) -> None:
    visitor, team = owner_of_one
    answer = visitor.get(f"{team}{page}?{urlencode(query)}")
    assert answer.status_code in (200, 400, 404)
    Reading(answer.text)


@pytest.mark.parametrize("query", ["since=%ff%fe", "ci=%ff", "&&&=", "ci=a&ci=b", "session=%C3%28"])
def test_not_even_what_is_no_text(owner_of_one: tuple[httpx.Client, str], query: str) -> None:
    visitor, team = owner_of_one
    for page in ("", "/runs", "/run"):
        assert visitor.get(f"{team}{page}?{query}").status_code in (200, 400, 404)


@pytest.mark.parametrize("slug", ["%2e%2e", "a%2Fb", "%00", "a" * 3000, "%ff", "A", "."])
def test_no_team_is_called_so(owner_of_one: tuple[httpx.Client, str], slug: str) -> None:
    visitor, _ = owner_of_one
    assert visitor.get(f"/teams/{slug}/runs").status_code in (400, 404)


def test_while_the_store_is_away_pages_say_so_and_settings_still_work(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with locked(data / "events.duckdb"), place_of(Server(data), Clock()) as place:
        team = place.team("web")
        owner = place.person("ann@example.com", team)
        with place.visitor(owner) as visitor:
            for page in ("", "/runs", "/run?session=x", "/artifacts", "/artifact?hash=x", "/pulse"):
                answer = visitor.get(f"/teams/web{page}")
                assert answer.status_code == 503, page
                assert int(answer.headers["retry-after"]) > 0
                assert is_page(answer)
                assert "Nothing can be shown now" in answer.text
            assert visitor.get("/teams/web/usage").status_code == 200
            assert visitor.get("/teams/web/connect").status_code == 200
            answer = send(visitor, "/teams/web/settings/team", {"name": "Still works"})
            assert answer.status_code == 303
            assert "Still works" in visitor.get("/teams/web/settings").text
