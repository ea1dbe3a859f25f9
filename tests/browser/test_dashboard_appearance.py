"""How the pages look and behave: for everybody, anywhere, at any width, light and dark, with and
without scripts, a mouse and a fast line."""

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
from tests.support.browser import Browser, errors_of, serious_findings
from tests.support.scenario import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    Place,
    Sender,
    local_hit,
    miss,
    remote_hit,
)

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEAVIEST_BYTES = 300_000
LONG_SESSION, LONG_HASH = "s" * 1024, "h" * 1024
STORED, PLAIN_RUN = "c0ffee0000000000", "plain-run"
WIDTHS = (320, 400, 1600)


@dataclass(frozen=True)
class Street:
    """Teams of all kinds on a server, and who looks at them."""

    place: Place
    owner: User
    viewer: User

    def address(self, path: str) -> str:
        return f"{self.place.server.url}/teams/{path}"


@pytest.fixture(scope="module")
def street(place: Place, clock: ManualClock) -> Street:
    """`web` has a year of builds and names as long as they may be; `new` has nothing."""
    team, new = place.team("web", "W" * 100), place.team("new")
    owner = place.person(f"{'owner' * 10}@example.com", team, new)
    viewer = place.person("viewer@example.com", team, role=Role.VIEWER)
    pipeline = place.sender(team, "p" * 200).saying(ci="C" * 50, agent="a" * 256)
    clock.value_ms = NOW_MS - 365 * DAY_MS + HOUR_MS
    for day in range(365):
        session = f"run-of-day-{day}"
        tasks = [local_hit(session, f"{day:016x}", 4000), miss(session, f"{day + 1:016x}")]
        place.post(pipeline, [event for task in tasks for event in task])
        clock.advance(86_400)
    clock.value_ms = NOW_MS - 2 * HOUR_MS
    place.put(pipeline, STORED, b"x" * 4096, 61_000)
    long = [*miss(LONG_SESSION, LONG_HASH), *remote_hit(LONG_SESSION, STORED, 61_000)]
    place.post(pipeline, long)
    place.post(pipeline.saying(ci=None, agent=None, interactive=True), miss(PLAIN_RUN, STORED))
    clock.value_ms = NOW_MS
    place.accounts.teams.change(team, _nearly_full, OPERATOR, "billing.change")
    ended, _ = place.accounts.tokens.create(team, "ended")
    place.accounts.tokens.revoke(ended)
    place.ask(pipeline, "/v1/analytics/summary")
    return Street(place, owner, viewer)


def _nearly_full(settings: TeamSettings) -> TeamSettings:
    limits = msgspec.structs.replace(settings.limits, stored_bytes=4096, requests=10**6)
    return msgspec.structs.replace(settings, limits=limits, spend_cap=12_500_000)


def going_to(path: str) -> Callable[[Page, Street], None]:
    def show(page: Page, street: Street) -> None:
        page.goto(street.address(path))

    return show


def refused_form(page: Page, street: Street) -> None:
    page.goto(street.address("web/settings"))
    page.get_by_label("Stored", exact=True).fill("x" * 200)
    page.get_by_role("button", name="Save").nth(1).click()
    page.get_by_role("alert").wait_for()


def token_made(page: Page, street: Street) -> None:
    page.goto(street.address("web/settings"))
    page.get_by_label("Label").fill("t" * 200)
    page.get_by_role("button", name="Make the token").click()
    page.get_by_text("not shown again").wait_for()


def forbidden(page: Page, street: Street) -> None:
    page.context.clear_cookies()
    street.place.let_in(page, street.viewer)
    page.goto(street.address("web/settings"))


SHOWN: dict[str, Callable[[Page, Street], None]] = {
    "overview": going_to("web"),
    "a year by day": going_to("web?since=365d&bucket=day"),
    "nothing in the period": going_to("web?ci=JENKINS"),
    "nothing yet": going_to("new"),
    "runs": going_to("web/runs?order=worst&since=7d"),
    "a run": going_to(f"web/run?session={LONG_SESSION}"),
    "artifacts": going_to("web/artifacts"),
    "an artifact": going_to(f"web/artifact?hash={STORED}"),
    "an artifact that is not stored": going_to(f"web/artifact?hash={LONG_HASH}"),
    "usage over a limit": going_to("web/usage"),
    "settings": going_to("web/settings"),
    "a form refused": refused_form,
    "a token made": token_made,
    "connect": going_to("web/connect"),
    "bad question": going_to("web?since=yesterday"),
    "no such team": going_to("none"),
    "not allowed": forbidden,
}


def answers_to(page: Page) -> list[Response]:
    """Everything that the page is answered from now on."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    return answers


@pytest.mark.parametrize("name", SHOWN)
def test_a_page_is_for_everybody(page: Page, street: Street, axe: Path, name: str) -> None:
    ours = (f"{street.place.server.url}/", "data:")
    answers = answers_to(page)
    SHOWN[name](page, street)
    page.evaluate("document.querySelectorAll('#content details').forEach(d => d.open = true)")
    schemes: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1600), ("dark", 320))
    for scheme, width in schemes:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert serious_findings(page, axe) == [], scheme
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    refusals = [e for e in errors_of(page) if "the server responded with a status of 4" in e]
    assert errors_of(page) == refusals
    assert page.title().endswith(" · hitrate")
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    assert [answer.url for answer in answers if not answer.url.startswith(ours)] == []
    html = [a for a in answers if a.headers.get("content-type", "").startswith("text/html")]
    assert {answer.headers["content-security-policy"] for answer in html} == {POLICY}
    assert {answer.headers["cache-control"] for answer in html} == {"no-store"}


@pytest.fixture
def page(browser: Browser, street: Street) -> Page:
    """The owner's."""
    page = browser.new_page()
    street.place.let_in(page, street.owner)
    return page


@pytest.fixture
def plain(browser: Browser, street: Street) -> Page:
    """The owner's, who switched scripts off."""
    page = browser.new_page(scripts=False)
    street.place.let_in(page, street.owner)
    return page


def chart(page: Page, title: str) -> Locator:
    return page.get_by_role("group", name=title)


def test_a_year_of_days_is_drawn_and_not_heavy(page: Page, street: Street) -> None:
    answers = answers_to(page)
    page.goto(street.address("web?since=365d&bucket=day"))
    page.wait_for_load_state("networkidle")
    drawn = chart(page, "Tasks by day").locator("path.miss").get_attribute("d")
    assert drawn is not None
    assert drawn.count("M") == 366
    # Each would be too narrow to be met: weeks are met, and lead to their runs.
    weeks = chart(page, "Tasks by day").get_by_role("link")
    assert weeks.count() == 53
    expect(weeks.nth(1)).to_have_accessible_name(re.compile("week of .*7 local hits"))
    assert sum(len(answer.body()) for answer in answers) < HEAVIEST_BYTES
    assert len(answers) == 4


@pytest.mark.parametrize("path", ["web?since=90d", "web/runs?since=365d", "web/settings"])
def test_no_page_is_heavy(page: Page, street: Street, path: str) -> None:
    answers = answers_to(page)
    page.goto(street.address(path))
    page.wait_for_load_state("networkidle")
    assert sum(len(answer.body()) for answer in answers) < HEAVIEST_BYTES


def test_too_many_parts_are_refused_with_a_way_out(page: Page, street: Street) -> None:
    page.goto(street.address("web?since=365d&bucket=hour"))
    expect(page.get_by_role("alert")).to_contain_text("choose a shorter period, or longer parts")
    page.get_by_role("link", name="Back to the start").click()
    page.wait_for_url(re.compile("/teams/(new|web)$"))


def test_charts_are_walked_with_the_arrow_keys(page: Page, street: Street) -> None:
    page.goto(street.address("web?since=7d"))
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
    said = links.nth(1).locator("title").text_content() or ""
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?since=*")
    assert said.endswith("1 local hit, 0 remote hits, 1 miss")
    expect(page.locator("#in-short")).to_contain_text("1 run began")


def test_everything_works_without_scripts(plain: Page, street: Street) -> None:
    plain.goto(street.address("web"))
    expect(plain.locator(".lead")).to_contain_text("(UTC)")
    plain.get_by_text("The numbers by day").click()
    expect(plain.get_by_role("region", name="The numbers by day")).to_be_visible()
    plain.get_by_role("combobox", name="Period", exact=True).select_option("7d")
    plain.get_by_role("button", name="Show").click()
    links = chart(plain, "Tasks by day").get_by_role("link")
    expect(links).to_have_count(8)
    links.nth(3).focus()
    plain.keyboard.press("Tab")
    expect(links.nth(4)).to_be_focused()
    plain.keyboard.press("Enter")
    plain.wait_for_url("**/runs?since=*")
    plain.get_by_role("region", name="Runs").last.get_by_role("link").first.click()
    plain.wait_for_url("**/run?session=*")
    plain.goto(street.address("web/runs?since=365d"))
    plain.get_by_role("link", name="Next page").click()
    expect(plain.locator(".pager")).to_contain_text("51 to 100")
    plain.goto(street.address("new/settings"))
    plain.get_by_label("Name", exact=True).fill("Brand new")
    plain.get_by_role("button", name="Save").first.click()
    expect(plain.get_by_role("status")).to_have_text("The team's switches are changed.")
    expect(plain.get_by_label("Name", exact=True)).to_have_value("Brand new")


def test_rows_of_a_narrow_table_are_still_rows(browser: Browser, street: Street) -> None:
    page = browser.new_page(viewport=(400, 800))
    street.place.let_in(page, street.owner)
    page.goto(street.address("web/runs?since=365d"))
    rows = page.get_by_role("region", name="Runs").last.get_by_role("row")
    expect(rows).to_have_count(51)
    row = rows.filter(has_text="interactive")
    expect(row.get_by_role("cell")).to_have_count(8)
    box, card = row.bounding_box(), page.locator("section.card").bounding_box()
    assert box is not None
    assert card is not None
    assert card["x"] <= box["x"] < box["x"] + box["width"] <= card["x"] + card["width"]


@pytest.fixture(scope="module")
def travels(place: Place, clock: ManualClock) -> tuple[Team, User, Sender]:
    """Two runs, of which one begins a new day in Kathmandu and the other one on Kiritimati."""
    team = place.team("travels")
    sender = place.sender(team, "laptop")
    for session, hours_ago in (("first", 37 + 40 / 60), ("second", 21.5)):
        clock.value_ms = NOW_MS - int(hours_ago * HOUR_MS)  # 13 January 18:20, 14 January 10:30
        place.post(sender, miss(session, session))
    clock.value_ms = NOW_MS
    place.ask(sender, "/v1/analytics/summary")
    return team, place.person("traveller@example.com", team), sender


@pytest.mark.parametrize(
    ("zone", "days", "began"),
    [
        ("Asia/Kathmandu", {"Thu 14 Jan 2027": 2}, "14 Jan 2027, 00:05"),
        ("America/New_York", {"Wed 13 Jan 2027": 1, "Thu 14 Jan 2027": 1}, "13 Jan 2027, 13:20"),
        ("Pacific/Kiritimati", {"Thu 14 Jan 2027": 1, "Fri 15 Jan 2027": 1}, "14 Jan 2027, 08:20"),
    ],
)
def test_days_begin_where_the_browser_is(
    browser: Browser,
    street: Street,
    travels: tuple[Team, User, Sender],
    zone: str,
    days: dict[str, int],
    began: str,
) -> None:
    page = browser.new_page(time_zone=zone)
    street.place.let_in(page, travels[1])
    page.goto(street.address("travels?since=7d"))
    zone = page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")  # Asia/Katmandu
    expect(page.locator("#content")).to_have_attribute("data-zone", zone)
    [kept] = [c for c in page.context.cookies() if c["name"] == "hitrate_timezone"]
    assert kept["value"] == zone
    expect(page.locator(".lead")).to_contain_text(f"({zone})")
    links = chart(page, "Tasks by day").locator("a")
    said = [text for text in links.locator("title").all_text_contents() if "0 misses" not in text]
    assert {text.split(": ")[0]: int(text.split()[-2]) for text in said} == days
    [first] = [text for text in said if text.startswith(next(iter(days)))]
    links.filter(has_text=first).click()
    page.wait_for_url("**/runs?since=*")
    rows = page.get_by_role("region", name="Runs").last.get_by_role("row")
    expect(rows).to_have_count(1 + next(iter(days.values())))
    expect(rows.last).to_contain_text(began)
    rows.last.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run of {began}")
    assert errors_of(page) == []


@pytest.mark.parametrize("zone", ["Nowhere/At_All", "../../etc/passwd", "%00", "x" * 4000, '"'])
def test_where_nobody_is_it_is_utc(street: Street, zone: str) -> None:
    with street.place.visitor(street.owner, zone) as visitor:
        answer = visitor.get("/teams/web/usage")
    assert answer.status_code == 200
    assert 'data-zone="UTC"' in answer.text


@pytest.mark.parametrize("path", ["/dashboard/style.css", "/dashboard/script.js"])
def test_what_pages_load_may_be_kept_and_loads_nothing_else(street: Street, path: str) -> None:
    with street.place.visitor(street.owner) as visitor:
        page, answer = visitor.get("/teams/web"), visitor.get(path)
    assert re.search(rf'"{re.escape(path)}\?v=[0-9a-f]{{12}}"', page.text)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert "://" not in answer.text


def test_no_page_has_a_style_or_script_of_its_own(street: Street) -> None:
    with street.place.visitor(street.owner) as visitor:
        for path in ("web", "web/run?session=plain-run", "web/usage", "web/settings"):
            text = visitor.get(f"/teams/{path}").text
            assert not re.search(r"<style|\sstyle=|<script(?! src=\"/dashboard/)|\son\w+=", text)


def test_a_session_that_ends_meanwhile_leaves_the_page_alone(page: Page, street: Street) -> None:
    page.clock.install()
    page.goto(street.address("web"))
    page.context.clear_cookies()
    with page.expect_response("**/pulse") as answered:
        page.clock.run_for(MINUTE_MS // 12)
    assert answered.value.status == 401
    expect(page.locator("#tasks")).to_be_visible()
