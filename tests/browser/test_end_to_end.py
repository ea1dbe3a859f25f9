"""A person's way through the pages, in a real browser, on what a client really sent to a real
server."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from hitrate.clock import Clock
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from tests.support.browser import Browser, errors_of
from tests.support.browser_user import fill_in
from tests.support.scenario import Place, Sender, local_hit, miss, place_of, remote_hit
from tests.support.server import Server, eventually

FIRST, SECOND, THIRD = "11" * 8, "22" * 8, "33" * 8
PASSWORD = "correct horse battery"
LOOK_AGAIN_MS = 4100
STATUS = "/v8/artifacts/status"


@dataclass(frozen=True)
class Home:
    """A team, its owner, and a token of the team."""

    place: Place
    team: Team
    owner: User
    token: Sender

    @property
    def url(self) -> str:
        return f"{self.place.server.url}/teams/{self.team.slug}"

    def status(self, secret: str) -> int:
        """What the API answers to a token at once."""
        return httpx.get(
            self.place.server.url + STATUS, headers={"authorization": f"Bearer {secret}"}
        ).status_code

    def load(self) -> None:
        """Wait until what was sent is counted."""
        self.place.ask(self.token, "/v1/analytics/summary")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server as people run it."""
    with place_of(Server(tmp_path_factory.mktemp("town") / "data"), Clock()) as town:
        yield town


@pytest.fixture
def home(town: Place) -> Home:
    team = town.team(f"home-{uuid.uuid4().hex[:8]}", "The web team")
    owner = town.person(f"ann-{uuid.uuid4().hex[:8]}@example.com", team)
    return Home(town, team, owner, town.sender(team, "pipeline"))


@pytest.fixture
def page(browser: Browser, home: Home) -> Page:
    """The owner's, signed in, where it is about noon, so that no day ends meanwhile."""
    page = browser.new_page(time_zone=f"Etc/GMT{datetime.now(UTC).hour - 12:+d}")
    home.place.let_in(page, home.owner)
    return page


@pytest.fixture
def build(home: Home) -> Callable[[], tuple[str, str]]:
    """Two runs: in CI two misses, whose artifacts are uploaded; then a local hit, a remote one and
    a miss on a laptop. Their sessions."""

    def run() -> tuple[str, str]:
        place, first, second = home.place, str(uuid.uuid4()), str(uuid.uuid4())
        pipeline = home.token.saying(ci="GITHUB_ACTIONS", interactive=False)
        place.put(pipeline, FIRST, b"1" * 1500, 3000)
        place.put(pipeline, SECOND, b"2" * 700, 5000)
        place.post(pipeline, [*miss(first, FIRST), *miss(first, SECOND)])
        laptop = place.sender(home.team, "laptop", home.owner).saying(interactive=True)
        place.get(laptop, SECOND)
        tasks = [local_hit(second, FIRST, 3000), remote_hit(second, SECOND, 0), miss(second, THIRD)]
        place.post(laptop, [event for task in tasks for event in task])
        home.load()
        eventually(lambda: _made_by(home, SECOND) == first)
        return first, second

    return run


def _made_by(home: Home, name: str) -> object:
    return home.place.ask(home.token, f"/v1/artifacts/{name}")["artifact"]["producedBy"]


def tile(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} strong")


def choice(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name, exact=True)


def test_from_signing_in_to_the_run_that_made_an_artifact(
    page: Page, home: Home, build: Callable[[], tuple[str, str]]
) -> None:
    first, second = build()
    home.place.accounts.users.set_password(home.owner, PASSWORD)
    page.context.clear_cookies()
    page.goto(home.place.server.url)
    fill_in(page, home.owner.email, PASSWORD)
    page.wait_for_url(home.url)
    expect(tile(page, "hit-rate")).to_have_text("40.0 %")
    expect(tile(page, "time-saved")).to_have_text("8.0 s")
    expect(tile(page, "runs")).to_have_text("2")
    expect(tile(page, "tasks")).to_have_text("5")
    for name, text in {
        "local-hits": "1",
        "remote-hits": "1",
        "misses": "3",
        "saved-local": "3.0 s",
        "saved-remote": "5.0 s",
        "uploaded": "2.2 kB in 2 artifacts",
        "downloaded": "700 B in 1 artifact",
        "events": "9",
        "duplicates": "0",
        "anomalies": "0",
    }.items():
        expect(page.locator(f"#{name}")).to_have_text(text)
    bar = page.get_by_role("group", name="Tasks by day").get_by_role(
        "link", name="1 local hit, 1 remote hit, 3 misses"
    )
    bar.click()
    page.wait_for_url("**/runs?since=*")
    rows = page.get_by_role("region", name="Runs").last.get_by_role("row")
    expect(rows).to_have_count(1 + 2)
    expect(page.locator("#in-short")).to_contain_text("2 of 5 tasks from the cache (40.0 %)")
    expect(rows.nth(1)).to_contain_text("66.7 %")
    expect(rows.nth(2)).to_contain_text("GITHUB_ACTIONS")
    rows.nth(1).get_by_role("link").click()
    page.wait_for_url(f"**/run?session={second}")
    expect(page.locator("#in-short")).to_contain_text("2 of 3 tasks from the cache (66.7 %), 8.0 s")
    tasks = page.get_by_role("region", name="Tasks").last.get_by_role("row")
    expect(tasks).to_contain_text(["Hash", "miss", "remote hit", "local hit"])
    page.get_by_role("link", name=SECOND).click()
    page.wait_for_url(f"**/artifact?hash={SECOND}")
    expect(page.locator("#size")).to_have_text("700 B")
    expect(page.locator("#hits")).to_have_text("0 local, 1 remote")
    page.get_by_role("link", name="this run").click()
    page.wait_for_url(f"**/run?session={first}")
    expect(page.locator("#in-short")).to_contain_text("0 of 2 tasks from the cache (0.0 %)")
    expect(page.get_by_role("row", name=SECOND)).to_contain_text("this run")
    assert errors_of(page) == []


def test_filters_and_periods_are_kept_from_page_to_page(
    page: Page, home: Home, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(home.url)
    choice(page, "CI").select_option("GITHUB_ACTIONS")
    choice(page, "Period").select_option("7d")
    page.get_by_role("button", name="Show").click()
    expect(tile(page, "tasks")).to_have_text("2")
    page.get_by_role("link", name="All runs, worst hit rate first").click()
    expect(choice(page, "CI")).to_have_value("GITHUB_ACTIONS")
    expect(choice(page, "Period")).to_have_value("7d")
    expect(page.locator("#in-short")).to_contain_text("1 run began")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#in-short")).to_contain_text("2 runs began")
    page.get_by_role("link", name="most time saved first").click()
    expect(page.get_by_role("region", name="Runs").last.get_by_role("row").nth(1)).to_contain_text(
        "8.0 s"
    )


def test_a_part_of_a_chart_is_a_period_that_another_may_follow(
    page: Page, home: Home, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(home.url)
    page.get_by_role("group", name="Tasks by day").get_by_role("link").first.click()
    expect(page.get_by_text("No runs began in this period")).to_be_visible()
    choice(page, "Period").select_option("24h")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#in-short")).to_contain_text("2 runs began")


def test_an_owner_s_limit_is_seen_in_usage_and_shuts_the_cache(
    page: Page, home: Home, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(f"{home.url}/settings")
    limits = page.get_by_role("region", name="Limits and prices")
    limits.get_by_label("Requests", exact=True).fill("1,000")
    limits.get_by_label("Stored", exact=True).fill("2 kB")
    limits.get_by_label("For a GB uploaded").fill("1.50")
    limits.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Limits and prices are changed.")
    expect(limits.get_by_label("Requests", exact=True)).to_have_value("1000")
    expect(limits.get_by_label("Stored", exact=True)).to_have_value("2 kB")
    page.get_by_role("link", name="Usage and limits").first.click()
    expect(page.locator("#limit-requests")).to_have_text("1,000")
    expect(page.locator("#limit-stored_bytes")).to_have_text("2.0 kB")
    expect(page.locator("#used-stored_bytes")).to_have_text("2.2 kB")
    expect(page.locator("#left-stored_bytes")).to_have_text("0 B")
    shut = "Remote Caching is refused: a limit of this billing cycle is reached (stored)."
    expect(page.locator("#shut")).to_contain_text(shut)
    [told] = [home.place.ask(home.token, STATUS)]
    assert told == {"status": "over_limit"}
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#shut")).to_contain_text(shut)
    page.locator("#shut").get_by_role("link", name="Usage and limits").click()
    page.get_by_role("link", name="Change limits and prices").click()
    limits.get_by_label("Stored", exact=True).fill("1 GiB")
    limits.get_by_role("button", name="Save").click()
    expect(page.locator("#shut")).to_have_count(0)
    assert home.place.ask(home.token, STATUS) == {"status": "enabled"}
    assert errors_of(page) == []


def test_what_cannot_be_a_limit_is_not_saved_and_stays_in_the_field(page: Page, home: Home) -> None:
    page.goto(f"{home.url}/settings")
    limits = page.get_by_role("region", name="Limits and prices")
    limits.get_by_label("Events", exact=True).fill("500")
    limits.get_by_label("Uploaded", exact=True).fill("a lot")
    limits.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_have_text(
        "Uploaded: 'a lot' is no size; write 1500, 200 MB or 4 GiB."
    )
    expect(limits.get_by_label("Uploaded", exact=True)).to_have_value("a lot")
    expect(limits.get_by_label("Events", exact=True)).to_have_value("500")
    page.goto(page.url)  # as somebody does who wonders what has become of it
    page.wait_for_url(f"{home.url}/settings")
    expect(limits.get_by_label("Events", exact=True)).to_have_value("")


def test_a_token_is_made_works_at_once_and_is_revoked_at_once(page: Page, home: Home) -> None:
    page.goto(f"{home.url}/settings")
    tokens = page.get_by_role("region", name="Tokens of the team")
    tokens.get_by_label("Label").fill("release pipeline")
    tokens.get_by_label("Days until it ends").fill("30")
    tokens.get_by_label("write").uncheck()
    tokens.get_by_role("button", name="Make the token").click()
    secret = page.get_by_role("region", name="Token").inner_text().strip()
    assert home.status(secret) == 200
    refused = httpx.put(
        f"{home.place.server.url}/v8/artifacts/{FIRST}",
        content=b"x",
        headers={"authorization": f"Bearer {secret}"},
    )
    assert refused.status_code == 403
    page.get_by_role("link", name="Back to the settings").click()
    assert secret not in page.content()
    tokens.get_by_role("button", name="Revoke release pipeline").click()
    expect(page.get_by_role("status")).to_have_text("The token is revoked.")
    assert home.status(secret) == 401
    tokens.get_by_text("1 that ended").click()
    expect(tokens.get_by_role("listitem").filter(has_text="release pipeline")).to_contain_text(
        "revoked"
    )
    [entry, *_] = home.place.accounts.audit.page(home.team.id, 1)
    assert (entry.actor_name, entry.action) == (home.owner.email, "token.revoke")


def test_a_member_is_added_changed_and_removed(page: Page, home: Home) -> None:
    email = f"bob-{uuid.uuid4().hex[:8]}@example.com"
    bob = home.place.person(email)
    page.goto(f"{home.url}/settings")
    members = page.get_by_role("region", name="Members")
    with home.place.visitor(bob) as visitor:
        overview = f"/teams/{home.team.slug}"
        assert visitor.get(overview).status_code == 404
        members.get_by_label("E-mail address").fill(email)
        members.get_by_label("Role", exact=True).select_option("BILLING")
        members.get_by_role("button", name="Add").click()
        expect(page.get_by_role("status")).to_have_text("They are in the team now.")
        assert visitor.get(overview).status_code == 403
        members.get_by_label(f"Role of {email}").select_option("DEVELOPER")
        row = members.get_by_role("listitem").filter(has_text=email)
        row.get_by_label("Remote Caching", exact=True).uncheck()
        row.get_by_role("button", name=f"Save {email}").click()
        expect(page.get_by_role("status")).to_have_text("The member is changed.")
        answer = visitor.get(overview)
        assert answer.status_code == 200
        assert "Remote Caching is switched off for you in this team." in answer.text
        row.get_by_role("button", name=f"Remove {email}").click()
        expect(page.get_by_role("status")).to_have_text("They are no longer in the team.")
        assert visitor.get(overview).status_code == 404
    expect(row).to_have_count(0)


def test_the_last_owner_stays(page: Page, home: Home) -> None:
    page.goto(f"{home.url}/settings")
    page.get_by_role("button", name=f"Remove {home.owner.email}").click()
    expect(page.get_by_role("alert")).to_contain_text("the team's last owner")
    members = home.place.accounts.members.list_for_team(home.team)
    assert [(member.user.email, member.role) for member in members] == [
        (home.owner.email, Role.OWNER)
    ]


# The word stands for two seconds: a busy machine may look too late.
TEXTS_OF = """button => {
    const texts = [];
    new MutationObserver(() => texts.push(button.textContent)).observe(button, {childList: true});
    return texts;
}"""


def test_the_lines_that_connect_are_copied(page: Page, home: Home) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{home.url}/connect")
    for name, line in (
        ("turbo login", f"npx turbo login --api={home.place.server.url}"),
        ("Environment", f"export TURBO_TEAM={home.team.slug}"),
        ("GitHub Actions", "TURBO_TOKEN: ${{ secrets.TURBO_TOKEN }}"),
        ("GitLab CI", f"  TURBO_API: {home.place.server.url}"),
    ):
        block = page.locator(".snippet").filter(has_text=name)
        texts = block.get_by_role("button").evaluate_handle(TEXTS_OF)
        block.get_by_role("button").click()
        page.wait_for_function("texts => texts.includes('Copied')", arg=texts)
        copied = page.evaluate("navigator.clipboard.readText()")
        assert line in copied
        assert copied == block.locator("code").inner_text()
    assert errors_of(page) == []


def test_a_page_follows_a_build(page: Page, home: Home) -> None:
    page.clock.install()
    page.goto(home.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing recorded yet")
    page.evaluate("window.unbroken = true")
    session = str(uuid.uuid4())
    _go_on(page, home, session, "a" * 16)
    expect(tile(page, "tasks")).to_have_text("1")
    page.get_by_text("The numbers by day").click()
    today = page.get_by_role("group", name="Tasks by day").get_by_role("link").last
    today.focus()
    page.set_viewport_size({"width": 400, "height": 800})
    page.evaluate("document.querySelector('.numbers .wide-table').scrollLeft = 60")
    _go_on(page, home, session, "b" * 16)
    expect(tile(page, "tasks")).to_have_text("2")
    expect(page.get_by_role("region", name="The numbers by day")).to_be_visible()
    expect(today).to_be_focused()
    assert page.evaluate("document.querySelector('.numbers .wide-table').scrollLeft") == 60
    page.goto(f"{home.url}/run?session={session}")
    page.evaluate("window.unbroken = true")
    _go_on(page, home, session, "c" * 16)
    expect(page.locator("#misses")).to_have_text("3")
    expect(page.get_by_role("link", name="c" * 16)).to_be_visible()
    assert page.evaluate("window.unbroken")
    assert errors_of(page) == []


def test_a_page_waits_while_somebody_chooses(page: Page, home: Home) -> None:
    session = str(uuid.uuid4())
    home.place.post(home.token, miss(session, "a" * 16))
    home.load()
    page.clock.install()
    page.goto(home.url)
    choice(page, "Period").focus()
    choice(page, "Period").select_option("7d")
    with page.expect_response(home.url):
        _go_on(page, home, session, "b" * 16)
    expect(choice(page, "Period")).to_have_value("7d")
    expect(tile(page, "tasks")).to_have_text("1")
    page.get_by_role("heading", level=1).click()
    page.clock.run_for(LOOK_AGAIN_MS)
    expect(tile(page, "tasks")).to_have_text("2")
    expect(choice(page, "Period")).to_have_value("7d")


def _go_on(page: Page, home: Home, session: str, name: str) -> None:
    """A build comes to its next task, and the page looks again."""
    home.place.post(home.token, miss(session, name))
    home.load()
    page.clock.run_for(LOOK_AGAIN_MS)


def test_there_are_ways_between_the_account_and_the_dashboard(page: Page, home: Home) -> None:
    page.goto(f"{home.url}/connect")
    page.get_by_role("link", name=home.owner.email).click()
    page.wait_for_url("**/account")
    page.get_by_role("region", name="Teams").get_by_role("link", name="The web team").click()
    page.wait_for_url(home.url)
    page.goto(f"{home.place.server.url}/account")
    page.get_by_role("link", name="hitrate").click()
    page.wait_for_url(home.url)


def test_who_is_in_two_teams_goes_from_one_to_the_other(page: Page, home: Home) -> None:
    other = home.place.team(f"{home.team.slug}-too", "The app team")
    home.place.accounts.members.add(other, home.owner, Role.VIEWER, OPERATOR)
    page.goto(f"{home.url}/usage")
    page.get_by_text("switch team").click()
    page.get_by_role("link", name=re.compile("The app team")).click()
    page.wait_for_url(f"**/teams/{other.slug}")
    expect(page.get_by_role("link", name="Settings")).to_have_count(0)
