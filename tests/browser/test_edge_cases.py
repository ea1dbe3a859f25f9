"""Edge cases of pages: unusual names, invalid URLs, and an unavailable event store."""

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
from tests.support.browser import console_errors
from tests.support.dashboard_fixture import DashboardFixture, is_html_page, submit_form
from tests.support.html_page import HtmlPage, text_of
from tests.support.scenario import PageServer, miss, remote_hit, run_page_server
from tests.support.server import Server

UNUSUAL_TEXTS = {
    "markup": "<script>alert(1)</script>",
    "an attribute": "\"'><img src=x onerror=alert(1)>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "a URL": "a/b?c=d&e=f#g%2F..%00;h",
    "a path": "../../settings",
    "right to left": "\u202eشحن\u202c abc",
    "non-Latin letters": "naïve-日本-🙂",
    "spaces": " a  b ",
    "empty": "",
    "very long": "x" * 1024,
    "NUL": "a\x00b",
    "line breaks": "a\r\nb\tc",
}


def displayed(text: str) -> str:
    """Return a text as a page displays it."""
    return " ".join(text.split()) or "(empty)"


@pytest.mark.parametrize("name", UNUSUAL_TEXTS)
def test_unusual_sessions_and_hashes_are_displayed_and_linked(
    dashboard: DashboardFixture, name: str
) -> None:
    text = UNUSUAL_TEXTS[name]
    dashboard.server.send_events(
        dashboard.client, [*miss(text, text), *remote_hit("plain", text, 1500)]
    )
    dashboard.server.load_events(dashboard.client)
    with dashboard.browse_as(Role.OWNER) as http:
        runs = parse_page(http.get(dashboard.path("/runs")))
        assert len(runs.table("Runs")) == 3
        [link] = [
            link
            for row in runs.table("Runs")
            for link in row.links
            if link
            not in (dashboard.path("/run?session=one"), dashboard.path("/run?session=plain"))
        ]
        run = parse_page(http.get(link))
        if text:
            assert displayed(text) in text_of(run.find_all(".//section")[0])
        [task] = run.table("tasks")
        assert task["Hash"] == displayed(text)
        artifact = parse_page(http.get(task.links[0]))
        assert displayed(text) in text_of(artifact.find_all(".//h1")[0])
        assert {row.links[0] for row in artifact.table("uses")} == {
            link,
            dashboard.path("/run?session=plain"),
        }


def parse_page(response: httpx.Response) -> HtmlPage:
    assert response.status_code == 200, response.text
    return HtmlPage(response.text)


@pytest.fixture
def unusual_team(page_server: PageServer) -> Iterator[tuple[Team, User]]:
    """Create a team whose names are all as unusual as the server allows."""
    team_name = UNUSUAL_TEXTS["an attribute"]
    team = page_server.create_team(f"unusual-{uuid.uuid4().hex[:8]}", team_name)
    owner = page_server.create_user(f"{uuid.uuid4().hex}@example.com", team)
    page_server.create_user(f"'<b>bob</b>'{uuid.uuid4().hex}@example.com", team)
    for text in (
        text for name, text in UNUSUAL_TEXTS.items() if name not in ("NUL", "line breaks")
    ):
        label = text if text.isprintable() else "plain"
        client = page_server.create_client(team, label[:200]).with_metadata(
            ci=text.strip()[:50], agent=text.strip()
        )
        page_server.send_events(client, miss(text, text))
    page_server.load_events(client)
    yield team, owner


def test_markup_in_names_is_escaped(
    page: Page, page_server: PageServer, unusual_team: tuple[Team, User]
) -> None:
    team, owner = unusual_team
    page_server.log_in(page, owner)
    page.on("dialog", lambda _dialog: pytest.fail("a script in a name was executed"))
    for path in ("", "/runs", "/settings", "/usage"):
        page.goto(f"{page_server.server.url}/teams/{team.slug}{path}")
        assert page.locator("img, main script, main b").count() == 0
        assert page.title().startswith(
            f"{page.get_by_role('heading', level=1).inner_text()} · \"'>"
        )
        assert console_errors(page) == []
    page.goto(f"{page_server.server.url}/teams/{team.slug}")
    expect(page.get_by_role("region", name="By agent").first).to_contain_text(
        UNUSUAL_TEXTS["markup"]
    )
    page.get_by_role("combobox", name="Agent").select_option(UNUSUAL_TEXTS["a URL"])
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#runs strong")).to_have_text("1")
    page.get_by_role("region", name="By agent").last.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/runs\?"))
    expect(page.locator("#totals")).to_contain_text("1 run started")


INVALID_URLS: list[tuple[str, dict[str, str]]] = [
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


def test_invalid_url_is_rejected_with_a_page(unchanged_dashboard: DashboardFixture) -> None:
    with unchanged_dashboard.browse_as(Role.OWNER) as http:
        for page, query in INVALID_URLS:
            params = {"session": "one", "hash": "one", **query}
            response = http.get(unchanged_dashboard.path(page), params=params)
            assert response.status_code == 400, (page, query)
            assert is_html_page(response)
            assert HtmlPage(response.text).find_all(".//p[@role='alert']")


def test_unknown_run_and_artifact_are_not_found_with_a_page(
    unchanged_dashboard: DashboardFixture,
) -> None:
    with unchanged_dashboard.browse_as(Role.OWNER) as http:
        for page in ("/run", "/run?session=two", "/artifact?hash=two", "/artifact?hash=%00"):
            response = http.get(unchanged_dashboard.path(page))
            assert response.status_code == 404, page
            assert is_html_page(response)


def test_page_beyond_the_end_of_a_list_links_to_the_first_page(
    unchanged_dashboard: DashboardFixture,
) -> None:
    with unchanged_dashboard.browse_as(Role.OWNER) as http:
        for page in ("/runs?", "/run?session=one&", "/artifacts?", "/artifact?hash=one&"):
            response = http.get(unchanged_dashboard.path(f"{page}cursor=999999999999999999"))
            assert response.status_code == 200, page
            assert "End of list." in response.text
            assert ">First page</a>" in response.text


PARAM_VALUES = st.text(max_size=20) | st.sampled_from(
    ["7d", "any", "none", "true", "day", "0", "1", "/"]
)
PARAM_NAMES = ("since", "until", "ci", "interactive", "agent", "token", "order", "cursor", "bucket",
         "unused", "session", "hash")  # fmt: skip


@pytest.fixture(scope="module")
def one_run_team(page_server: PageServer) -> Iterator[tuple[httpx.Client, str]]:
    """Create a team with one run; yield an HTTP client of its owner and the path of the team."""
    team = page_server.create_team(f"one-{uuid.uuid4().hex[:8]}")
    owner = page_server.create_user(f"{uuid.uuid4().hex}@example.com", team)
    page_server.send_events(client := page_server.create_client(team, ""), miss("one", "one"))
    page_server.load_events(client)
    with page_server.browse_as(owner) as http:
        yield http, f"/teams/{team.slug}"


@settings(max_examples=60)
@given(
    st.sampled_from(["", "/runs", "/run", "/artifacts", "/artifact"]),
    st.dictionaries(st.sampled_from(PARAM_NAMES), PARAM_VALUES, max_size=4),
)
def test_random_parameters_never_fail(
    one_run_team: tuple[httpx.Client, str], page: str, query: dict[str, str]
) -> None:
    http, team = one_run_team
    response = http.get(f"{team}{page}?{urlencode(query)}")
    assert response.status_code in (200, 400, 404)
    HtmlPage(response.text)


@pytest.mark.parametrize("query", ["since=%ff%fe", "ci=%ff", "&&&=", "ci=a&ci=b", "session=%C3%28"])
def test_malformed_query_strings_never_fail(
    one_run_team: tuple[httpx.Client, str], query: str
) -> None:
    http, team = one_run_team
    for page in ("", "/runs", "/run"):
        assert http.get(f"{team}{page}?{query}").status_code in (200, 400, 404)


@pytest.mark.parametrize("slug", ["%2e%2e", "a%2Fb", "%00", "a" * 3000, "%ff", "A", "."])
def test_malformed_team_slugs_are_not_found(
    one_run_team: tuple[httpx.Client, str], slug: str
) -> None:
    http, _ = one_run_team
    assert http.get(f"/teams/{slug}/runs").status_code in (400, 404)


def test_unavailable_event_store_disables_reports_but_not_settings(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with (
        locked(data_dir / "events.duckdb"),
        run_page_server(Server(data_dir), Clock()) as page_server,
    ):
        team = page_server.create_team("web")
        owner = page_server.create_user("ann@example.com", team)
        with page_server.browse_as(owner) as http:
            for page in (
                "",
                "/runs",
                "/run?session=x",
                "/artifacts",
                "/artifact?hash=x",
                "/version",
            ):
                response = http.get(f"/teams/web{page}")
                assert response.status_code == 503, page
                assert int(response.headers["retry-after"]) > 0
                assert is_html_page(response)
                assert "This page is temporarily unavailable" in response.text
            assert http.get("/teams/web/usage").status_code == 200
            assert http.get("/teams/web/connect").status_code == 200
            response = submit_form(http, "/teams/web/settings/team", {"name": "Still works"})
            assert response.status_code == 303
            assert "Still works" in http.get("/teams/web/settings").text
