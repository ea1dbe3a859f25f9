"""Appearance and behavior of the dashboard.

Accessibility, widths, color schemes, size, keyboard, time zones, and use without scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from playwright.sync_api import Locator, Page, Response, expect

from hitrate.clock import ManualClock
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from hitrate.teams.settings import TeamSettings
from tests.support.browser import Browser, accessibility_violations, console_errors
from tests.support.scenario import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    BuildClient,
    PageServer,
    local_hit,
    miss,
    remote_hit,
)

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAX_PAGE_BYTES = 300_000
LONG_SESSION, LONG_HASH = "s" * 1024, "h" * 1024
ARTIFACT_HASH, PLAIN_SESSION = "c0ffee0000000000", "plain-run"
WIDTHS = (320, 400, 1600)


@dataclass(frozen=True)
class Teams:
    """The teams `web` and `new` on a server, and users who view them."""

    server: PageServer
    owner: User
    viewer: User

    def url(self, path: str) -> str:
        return f"{self.server.url}/teams/{path}"


@pytest.fixture(scope="module")
def teams(page_server: PageServer, clock: ManualClock) -> Teams:
    """Create `web`, with a year of runs and names of maximum length, and `new`, without runs."""
    team, new = page_server.create_team("web", "W" * 100), page_server.create_team("new")
    owner = page_server.create_user(f"{'owner' * 10}@example.com", team, new)
    viewer = page_server.create_user("viewer@example.com", team, role=Role.VIEWER)
    pipeline = page_server.create_client(team, "p" * 200).with_metadata(
        ci="C" * 50, agent="a" * 256
    )
    clock.value_ms = NOW_MS - 365 * DAY_MS + HOUR_MS
    for day in range(365):
        session = f"run-of-day-{day}"
        tasks = [local_hit(session, f"{day:016x}", 4000), miss(session, f"{day + 1:016x}")]
        page_server.send_events(pipeline, [event for task in tasks for event in task])
        clock.advance(86_400)
    clock.value_ms = NOW_MS - 2 * HOUR_MS
    page_server.upload(pipeline, ARTIFACT_HASH, b"x" * 4096, 61_000)
    events = [*miss(LONG_SESSION, LONG_HASH), *remote_hit(LONG_SESSION, ARTIFACT_HASH, 61_000)]
    page_server.send_events(pipeline, events)
    page_server.send_events(
        pipeline.with_metadata(ci=None, agent=None, interactive=True),
        miss(PLAIN_SESSION, ARTIFACT_HASH),
    )
    clock.value_ms = NOW_MS
    page_server.accounts.teams.change(team, _set_limits, OPERATOR, "billing.change")
    revoked, _ = page_server.accounts.tokens.create(team, "revoked")
    page_server.accounts.tokens.revoke(revoked)
    page_server.load_events(pipeline)
    return Teams(page_server, owner, viewer)


def _set_limits(settings: TeamSettings) -> TeamSettings:
    limits = msgspec.structs.replace(settings.limits, stored_bytes=4096, requests=10**6)
    return msgspec.structs.replace(settings, limits=limits, spend_cap=12_500_000)


def open_path(path: str) -> Callable[[Page, Teams], None]:
    def open_page(page: Page, teams: Teams) -> None:
        page.goto(teams.url(path))

    return open_page


def submit_invalid_form(page: Page, teams: Teams) -> None:
    page.goto(teams.url("web/settings"))
    page.get_by_label("Stored", exact=True).fill("x" * 200)
    page.get_by_role("button", name="Save").nth(1).click()
    page.get_by_role("alert").wait_for()


def create_token(page: Page, teams: Teams) -> None:
    page.goto(teams.url("web/settings"))
    page.get_by_label("Label").fill("t" * 200)
    page.get_by_role("button", name="Create token").click()
    page.get_by_text("shown again").wait_for()


def open_forbidden_page(page: Page, teams: Teams) -> None:
    page.context.clear_cookies()
    teams.server.log_in(page, teams.viewer)
    page.goto(teams.url("web/settings"))


VIEWS: dict[str, Callable[[Page, Teams], None]] = {
    "overview": open_path("web"),
    "year by day": open_path("web?since=365d&bucket=day"),
    "no runs in the period": open_path("web?ci=JENKINS"),
    "no runs yet": open_path("new"),
    "runs": open_path("web/runs?order=worst&since=7d"),
    "run": open_path(f"web/run?session={LONG_SESSION}"),
    "artifacts": open_path("web/artifacts"),
    "artifact": open_path(f"web/artifact?hash={ARTIFACT_HASH}"),
    "artifact that is not stored": open_path(f"web/artifact?hash={LONG_HASH}"),
    "usage over a limit": open_path("web/usage"),
    "settings": open_path("web/settings"),
    "rejected form": submit_invalid_form,
    "token created": create_token,
    "connect": open_path("web/connect"),
    "invalid query": open_path("web?since=yesterday"),
    "unknown team": open_path("none"),
    "forbidden": open_forbidden_page,
}


def record_responses(page: Page) -> list[Response]:
    """Collect every response that the page receives from now on."""
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))
    return responses


@pytest.mark.parametrize("name", VIEWS)
def test_page_is_accessible_fits_all_widths_and_loads_only_from_the_server(
    page: Page, teams: Teams, axe: Path, name: str
) -> None:
    own_urls = (f"{teams.server.url}/", "data:")
    responses = record_responses(page)
    VIEWS[name](page, teams)
    page.evaluate("document.querySelectorAll('#content details').forEach(d => d.open = true)")
    schemes: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1600), ("dark", 320))
    for scheme, width in schemes:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert accessibility_violations(page, axe) == [], scheme
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    rejections = [e for e in console_errors(page) if "the server responded with a status of 4" in e]
    assert console_errors(page) == rejections
    assert page.title().endswith(" · hitrate")
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    assert [response.url for response in responses if not response.url.startswith(own_urls)] == []
    html = [a for a in responses if a.headers.get("content-type", "").startswith("text/html")]
    assert {response.headers["content-security-policy"] for response in html} == {POLICY}
    assert {response.headers["cache-control"] for response in html} == {"no-store"}


@pytest.fixture
def page(browser: Browser, teams: Teams) -> Page:
    """A browser page of the owner."""
    page = browser.new_page()
    teams.server.log_in(page, teams.owner)
    return page


@pytest.fixture
def page_without_scripts(browser: Browser, teams: Teams) -> Page:
    """A browser page of the owner, without scripts."""
    page = browser.new_page(scripts=False)
    teams.server.log_in(page, teams.owner)
    return page


def chart(page: Page, title: str) -> Locator:
    return page.get_by_role("group", name=title)


def test_year_by_day_draws_every_day_and_links_weeks(page: Page, teams: Teams) -> None:
    responses = record_responses(page)
    page.goto(teams.url("web?since=365d&bucket=day"))
    page.wait_for_load_state("networkidle")
    drawn = chart(page, "Tasks by day").locator("path.miss").get_attribute("d")
    assert drawn is not None
    assert drawn.count("M") == 366
    # A day is too narrow for a link.
    weeks = chart(page, "Tasks by day").get_by_role("link")
    assert weeks.count() == 53
    expect(weeks.nth(1)).to_have_accessible_name(re.compile("week of .*7 local hits"))
    assert sum(len(response.body()) for response in responses) < MAX_PAGE_BYTES
    assert len(responses) == 4


@pytest.mark.parametrize("path", ["web?since=90d", "web/runs?since=365d", "web/settings"])
def test_page_size_is_limited(page: Page, teams: Teams, path: str) -> None:
    responses = record_responses(page)
    page.goto(teams.url(path))
    page.wait_for_load_state("networkidle")
    assert sum(len(response.body()) for response in responses) < MAX_PAGE_BYTES


def test_too_many_chart_buckets_are_rejected_with_a_way_back(page: Page, teams: Teams) -> None:
    page.goto(teams.url("web?since=365d&bucket=hour"))
    expect(page.get_by_role("alert")).to_contain_text(
        "Choose a shorter period or a longer interval"
    )
    page.get_by_role("link", name="Go to overview").click()
    page.wait_for_url(re.compile("/teams/(new|web)$"))


def test_arrow_keys_move_between_chart_links(page: Page, teams: Teams) -> None:
    page.goto(teams.url("web?since=7d"))
    links = chart(page, "Tasks by day").get_by_role("link")
    last = chart(page, "Hit rate by day").get_by_role("link").last
    last.focus()
    page.keyboard.press("Tab")
    expect(links.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(links.last).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(links.last).to_be_focused()
    page.keyboard.press("Home")
    expect(links.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    expect(chart(page, "Time saved by day").get_by_role("link").first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(links.nth(1)).to_be_focused()
    title = links.nth(1).locator("title").text_content() or ""
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?since=*")
    assert title.endswith("1 local hit, 0 remote hits, 1 miss")
    expect(page.locator("#totals")).to_contain_text("1 run started")


def test_pages_work_without_scripts(page_without_scripts: Page, teams: Teams) -> None:
    page = page_without_scripts
    page.goto(teams.url("web"))
    expect(page.locator(".lead")).to_contain_text("(UTC)")
    page.get_by_text("Data table (daily)").click()
    expect(page.get_by_role("region", name="Data table (daily)")).to_be_visible()
    page.get_by_role("combobox", name="Period", exact=True).select_option("7d")
    page.get_by_role("button", name="Apply").click()
    links = chart(page, "Tasks by day").get_by_role("link")
    expect(links).to_have_count(8)
    links.nth(3).focus()
    page.keyboard.press("Tab")
    expect(links.nth(4)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?since=*")
    page.get_by_role("region", name="Runs").last.get_by_role("link").first.click()
    page.wait_for_url("**/run?session=*")
    page.goto(teams.url("web/runs?since=365d"))
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".pager")).to_contain_text("51 to 100")
    page.goto(teams.url("new/settings"))
    page.get_by_label("Name", exact=True).fill("Brand new")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_role("status")).to_have_text("Team settings saved.")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Brand new")


def test_table_rows_wrap_on_narrow_screens(browser: Browser, teams: Teams) -> None:
    page = browser.new_page(viewport=(400, 800))
    teams.server.log_in(page, teams.owner)
    page.goto(teams.url("web/runs?since=365d"))
    rows = page.get_by_role("region", name="Runs").last.get_by_role("row")
    expect(rows).to_have_count(51)
    row = rows.filter(has_text="interactive")
    expect(row.get_by_role("cell")).to_have_count(8)
    box, card = row.bounding_box(), page.locator("section.card").bounding_box()
    assert box is not None
    assert card is not None
    assert card["x"] <= box["x"] < box["x"] + box["width"] <= card["x"] + card["width"]


@pytest.fixture(scope="module")
def travel_team(page_server: PageServer, clock: ManualClock) -> tuple[Team, User, BuildClient]:
    """Create a team with two runs that are on different days in the tested time zones."""
    team = page_server.create_team("travel")
    client = page_server.create_client(team, "laptop")
    for session, hours_ago in (("first", 37 + 40 / 60), ("second", 21.5)):
        clock.value_ms = NOW_MS - int(hours_ago * HOUR_MS)  # 13 January 18:20, 14 January 10:30
        page_server.send_events(client, miss(session, session))
    clock.value_ms = NOW_MS
    page_server.load_events(client)
    return team, page_server.create_user("traveller@example.com", team), client


@pytest.mark.parametrize(
    ("zone", "misses_by_day", "started"),
    [
        ("Asia/Kathmandu", {"Thu 14 Jan 2027": 2}, "14 Jan 2027, 00:05"),
        ("America/New_York", {"Wed 13 Jan 2027": 1, "Thu 14 Jan 2027": 1}, "13 Jan 2027, 13:20"),
        ("Pacific/Kiritimati", {"Thu 14 Jan 2027": 1, "Fri 15 Jan 2027": 1}, "14 Jan 2027, 08:20"),
    ],
)
def test_days_begin_at_midnight_in_the_time_zone_of_the_browser(
    browser: Browser,
    teams: Teams,
    travel_team: tuple[Team, User, BuildClient],
    zone: str,
    misses_by_day: dict[str, int],
    started: str,
) -> None:
    page = browser.new_page(time_zone=zone)
    teams.server.log_in(page, travel_team[1])
    page.goto(teams.url("travel?since=7d"))
    zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")  # Asia/Katmandu
    expect(page.locator("#content")).to_have_attribute("data-zone", zone)
    [cookie] = [c for c in page.context.cookies() if c["name"] == "hitrate_timezone"]
    assert cookie["value"] == zone
    expect(page.locator(".lead")).to_contain_text(f"({zone})")
    links = chart(page, "Tasks by day").locator("a")
    titles = links.locator("title").all_text_contents()
    with_misses = [title for title in titles if "0 misses" not in title]
    assert {title.split(": ")[0]: int(title.split()[-2]) for title in with_misses} == misses_by_day
    first_day = next(iter(misses_by_day))
    [first] = [title for title in with_misses if title.startswith(first_day)]
    links.filter(has_text=first).click()
    page.wait_for_url("**/runs?since=*")
    rows = page.get_by_role("region", name="Runs").last.get_by_role("row")
    expect(rows).to_have_count(1 + misses_by_day[first_day])
    expect(rows.last).to_contain_text(started)
    rows.last.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run started {started}")
    assert console_errors(page) == []


@pytest.mark.parametrize("zone", ["Nowhere/At_All", "../../etc/passwd", "%00", "x" * 4000, '"'])
def test_invalid_time_zone_cookie_means_utc(teams: Teams, zone: str) -> None:
    with teams.server.browse_as(teams.owner, zone) as http:
        response = http.get("/teams/web/usage")
    assert response.status_code == 200
    assert 'data-zone="UTC"' in response.text


@pytest.mark.parametrize("path", ["/dashboard/style.css", "/dashboard/script.js"])
def test_static_assets_are_cacheable_and_load_nothing_else(teams: Teams, path: str) -> None:
    with teams.server.browse_as(teams.owner) as http:
        page, response = http.get("/teams/web"), http.get(path)
    assert re.search(rf'"{re.escape(path)}\?v=[0-9a-f]{{12}}"', page.text)
    assert "immutable" in response.headers["cache-control"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "url(" not in response.text
    assert "@import" not in response.text
    assert "://" not in response.text


def test_pages_have_no_inline_style_or_script(teams: Teams) -> None:
    with teams.server.browse_as(teams.owner) as http:
        for path in ("web", "web/run?session=plain-run", "web/usage", "web/settings"):
            text = http.get(f"/teams/{path}").text
            assert not re.search(r"<style|\sstyle=|<script(?! src=\"/dashboard/)|\son\w+=", text)


def test_expired_session_leaves_the_open_page_unchanged(page: Page, teams: Teams) -> None:
    page.clock.install()
    page.goto(teams.url("web"))
    page.context.clear_cookies()
    with page.expect_response("**/version") as version_response:
        page.clock.run_for(MINUTE_MS // 12)
    assert version_response.value.status == 401
    expect(page.locator("#tasks")).to_be_visible()
