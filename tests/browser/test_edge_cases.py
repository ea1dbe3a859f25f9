"""Neither odd names nor odd addresses break a page, and none does anything."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from hitrate.clock import Clock
from hitrate.roles import Role
from hitrate.teams.models import Team, User
from tests.faults.test_event_store_unavailable import locked
from tests.support.browser import errors_of
from tests.support.dashboard_fixture import House, is_page, send
from tests.support.html_page import Reading, text_of
from tests.support.scenario import Place, miss, place_of, remote_hit
from tests.support.server import Server

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
    house.place.ask(house.sender, "/v1/analytics/summary")
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
    place.ask(sender, "/v1/analytics/summary")
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
    place.ask(sender, "/v1/analytics/summary")
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
