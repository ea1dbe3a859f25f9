"""End-to-end tests of the dashboard in a browser, with a server that real requests have filled."""

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
from tests.support.browser import Browser, console_errors
from tests.support.browser_user import submit_login
from tests.support.scenario import (
    BuildClient,
    PageServer,
    local_hit,
    miss,
    remote_hit,
    run_page_server,
)
from tests.support.server import Server, eventually

FIRST, SECOND, THIRD = "11" * 8, "22" * 8, "33" * 8
PASSWORD = "correct horse battery"
OVER_POLL_INTERVAL_MS = 4100
STATUS_PATH = "/v8/artifacts/status"


@dataclass(frozen=True)
class TeamSetup:
    """A team, its owner, and a client with a token of the team."""

    server: PageServer
    team: Team
    owner: User
    client: BuildClient

    @property
    def url(self) -> str:
        return f"{self.server.url}/teams/{self.team.slug}"

    def status(self, secret: str) -> int:
        """Return the status of an API request with a token."""
        return httpx.get(
            self.server.url + STATUS_PATH, headers={"authorization": f"Bearer {secret}"}
        ).status_code

    def load_events(self) -> None:
        """Wait until all events that were sent are loaded."""
        self.server.load_events(self.client)


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A server in a process of its own."""
    with run_page_server(Server(tmp_path_factory.mktemp("end-to-end") / "data"), Clock()) as server:
        yield server


@pytest.fixture
def setup(running_server: PageServer) -> TeamSetup:
    team = running_server.create_team(f"team-{uuid.uuid4().hex[:8]}", "The web team")
    owner = running_server.create_user(f"ann-{uuid.uuid4().hex[:8]}@example.com", team)
    client = running_server.create_client(team, "pipeline")
    return TeamSetup(running_server, team, owner, client)


@pytest.fixture
def page(browser: Browser, setup: TeamSetup) -> Page:
    """A browser page of the owner, in a time zone where it is noon, so that no day ends."""
    page = browser.new_page(time_zone=f"Etc/GMT{datetime.now(UTC).hour - 12:+d}")
    setup.server.log_in(page, setup.owner)
    return page


@pytest.fixture
def build(setup: TeamSetup) -> Callable[[], tuple[str, str]]:
    """Return a function that sends two runs and returns their sessions.

    The first, in CI, misses two artifacts and uploads them. The second, on a laptop, has a local
    hit, a remote hit and a miss.
    """

    def run() -> tuple[str, str]:
        server, first, second = setup.server, str(uuid.uuid4()), str(uuid.uuid4())
        pipeline = setup.client.with_metadata(ci="GITHUB_ACTIONS", interactive=False)
        server.upload(pipeline, FIRST, b"1" * 1500, 3000)
        server.upload(pipeline, SECOND, b"2" * 700, 5000)
        server.send_events(pipeline, [*miss(first, FIRST), *miss(first, SECOND)])
        laptop = server.create_client(setup.team, "laptop", setup.owner).with_metadata(
            interactive=True
        )
        server.download(laptop, SECOND)
        tasks = [local_hit(second, FIRST, 3000), remote_hit(second, SECOND, 0), miss(second, THIRD)]
        server.send_events(laptop, [event for task in tasks for event in task])
        setup.load_events()
        eventually(lambda: _producer(setup, SECOND) == first)
        return first, second

    return run


def _producer(setup: TeamSetup, artifact: str) -> object:
    return setup.server.get_json(setup.client, f"/v1/artifacts/{artifact}")["artifact"][
        "producedBy"
    ]


def tile(page: Page, element_id: str) -> Locator:
    return page.locator(f"#{element_id} strong")


def select(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name, exact=True)


def test_navigation_from_login_to_the_run_that_produced_an_artifact(
    page: Page, setup: TeamSetup, build: Callable[[], tuple[str, str]]
) -> None:
    first, second = build()
    setup.server.accounts.users.set_password(setup.owner, PASSWORD)
    page.context.clear_cookies()
    page.goto(setup.server.url)
    submit_login(page, setup.owner.email, PASSWORD)
    page.wait_for_url(setup.url)
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
    expect(page.locator("#totals")).to_contain_text("2 of 5 tasks from the cache (40.0 %)")
    expect(rows.nth(1)).to_contain_text("66.7 %")
    expect(rows.nth(2)).to_contain_text("GITHUB_ACTIONS")
    rows.nth(1).get_by_role("link").click()
    page.wait_for_url(f"**/run?session={second}")
    expect(page.locator("#totals")).to_contain_text("2 of 3 tasks from the cache (66.7 %), 8.0 s")
    tasks = page.get_by_role("region", name="Tasks").last.get_by_role("row")
    expect(tasks).to_contain_text(["Hash", "miss", "remote hit", "local hit"])
    page.get_by_role("link", name=SECOND).click()
    page.wait_for_url(f"**/artifact?hash={SECOND}")
    expect(page.locator("#size")).to_have_text("700 B")
    expect(page.locator("#hits")).to_have_text("0 local, 1 remote")
    page.get_by_role("link", name="this run").click()
    page.wait_for_url(f"**/run?session={first}")
    expect(page.locator("#totals")).to_contain_text("0 of 2 tasks from the cache (0.0 %)")
    expect(page.get_by_role("row", name=SECOND)).to_contain_text("this run")
    assert console_errors(page) == []


def test_links_keep_period_and_filters(
    page: Page, setup: TeamSetup, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(setup.url)
    select(page, "CI").select_option("GITHUB_ACTIONS")
    select(page, "Period").select_option("7d")
    page.get_by_role("button", name="Apply").click()
    expect(tile(page, "tasks")).to_have_text("2")
    page.get_by_role("link", name="All runs, worst hit rate first").click()
    expect(select(page, "CI")).to_have_value("GITHUB_ACTIONS")
    expect(select(page, "Period")).to_have_value("7d")
    expect(page.locator("#totals")).to_contain_text("1 run started")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#totals")).to_contain_text("2 runs started")
    page.get_by_role("link", name="Most time saved").click()
    expect(page.get_by_role("region", name="Runs").last.get_by_role("row").nth(1)).to_contain_text(
        "8.0 s"
    )


def test_period_of_a_chart_link_can_be_changed(
    page: Page, setup: TeamSetup, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(setup.url)
    page.get_by_role("group", name="Tasks by day").get_by_role("link").first.click()
    expect(page.get_by_text("No runs started in this period")).to_be_visible()
    select(page, "Period").select_option("24h")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#totals")).to_contain_text("2 runs started")


def test_limit_set_by_the_owner_is_displayed_and_blocks_the_cache(
    page: Page, setup: TeamSetup, build: Callable[[], tuple[str, str]]
) -> None:
    build()
    page.goto(f"{setup.url}/settings")
    limits = page.get_by_role("region", name="Limits and prices")
    limits.get_by_label("Requests", exact=True).fill("1,000")
    limits.get_by_label("Stored", exact=True).fill("2 kB")
    limits.get_by_label("Per GB uploaded").fill("1.50")
    limits.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Limits and prices saved.")
    expect(limits.get_by_label("Requests", exact=True)).to_have_value("1000")
    expect(limits.get_by_label("Stored", exact=True)).to_have_value("2 kB")
    page.get_by_role("link", name="Usage and limits").first.click()
    expect(page.locator("#limit-requests")).to_have_text("1,000")
    expect(page.locator("#limit-stored_bytes")).to_have_text("2.0 kB")
    expect(page.locator("#used-stored_bytes")).to_have_text("2.2 kB")
    expect(page.locator("#remaining-stored_bytes")).to_have_text("0 B")
    reason = "this team has reached a limit of its billing cycle (stored)."
    expect(page.locator("#blocked")).to_contain_text(reason)
    assert setup.server.get_json(setup.client, STATUS_PATH) == {"status": "over_limit"}
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("#blocked")).to_contain_text(reason)
    page.locator("#blocked").get_by_role("link", name="Usage and limits").click()
    page.get_by_role("link", name="Edit limits and prices").click()
    limits.get_by_label("Stored", exact=True).fill("1 GiB")
    limits.get_by_role("button", name="Save").click()
    expect(page.locator("#blocked")).to_have_count(0)
    assert setup.server.get_json(setup.client, STATUS_PATH) == {"status": "enabled"}
    assert console_errors(page) == []


def test_invalid_limit_is_rejected_and_stays_in_the_field(page: Page, setup: TeamSetup) -> None:
    page.goto(f"{setup.url}/settings")
    limits = page.get_by_role("region", name="Limits and prices")
    limits.get_by_label("Events", exact=True).fill("500")
    limits.get_by_label("Uploaded", exact=True).fill("a lot")
    limits.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_have_text(
        "Uploaded: 'a lot' is not a size. Enter 1500, 200 MB or 4 GiB."
    )
    expect(limits.get_by_label("Uploaded", exact=True)).to_have_value("a lot")
    expect(limits.get_by_label("Events", exact=True)).to_have_value("500")
    page.goto(page.url)  # reload the URL of the form
    page.wait_for_url(f"{setup.url}/settings")
    expect(limits.get_by_label("Events", exact=True)).to_have_value("")


def test_created_token_works_and_revoked_token_stops_working_immediately(
    page: Page, setup: TeamSetup
) -> None:
    page.goto(f"{setup.url}/settings")
    tokens = page.get_by_role("region", name="Team tokens")
    tokens.get_by_label("Label").fill("release pipeline")
    tokens.get_by_label("Expires in (days)").fill("30")
    tokens.get_by_label("write").uncheck()
    tokens.get_by_role("button", name="Create token").click()
    secret = page.get_by_label("release pipeline").input_value()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function(
        "secret => navigator.clipboard.readText().then(text => text === secret)", arg=secret
    )
    assert setup.status(secret) == 200
    refused = httpx.put(
        f"{setup.server.url}/v8/artifacts/{FIRST}",
        content=b"x",
        headers={"authorization": f"Bearer {secret}"},
    )
    assert refused.status_code == 403
    page.get_by_role("link", name="Back to settings").click()
    assert secret not in page.content()
    tokens.get_by_role("button", name="Revoke release pipeline").click()
    expect(page.get_by_role("status")).to_have_text("Token revoked.")
    assert setup.status(secret) == 401
    tokens.get_by_text("1 expired or revoked").click()
    expect(tokens.get_by_role("listitem").filter(has_text="release pipeline")).to_contain_text(
        "revoked"
    )
    [entry, *_] = setup.server.accounts.audit.page(setup.team.id, 1)
    assert (entry.actor_name, entry.action) == (setup.owner.email, "token.revoke")


def test_member_is_added_changed_and_removed(page: Page, setup: TeamSetup) -> None:
    email = f"bob-{uuid.uuid4().hex[:8]}@example.com"
    bob = setup.server.create_user(email)
    page.goto(f"{setup.url}/settings")
    members = page.get_by_role("region", name="Members")
    with setup.server.browse_as(bob) as http:
        overview = f"/teams/{setup.team.slug}"
        assert http.get(overview).status_code == 404
        members.get_by_label("Email address").fill(email)
        members.get_by_label("Role", exact=True).select_option("BILLING")
        members.get_by_role("button", name="Add").click()
        expect(page.get_by_role("status")).to_have_text("Member added.")
        assert http.get(overview).status_code == 403
        members.get_by_label(f"Role of {email}").select_option("DEVELOPER")
        row = members.get_by_role("listitem").filter(has_text=email)
        row.get_by_label("Remote Caching", exact=True).uncheck()
        row.get_by_role("button", name=f"Save {email}").click()
        expect(page.get_by_role("status")).to_have_text("Member updated.")
        response = http.get(overview)
        assert response.status_code == 200
        assert "Remote Caching is disabled for you in this team." in response.text
        row.get_by_role("button", name=f"Remove {email}").click()
        expect(page.get_by_role("status")).to_have_text("Member removed.")
        assert http.get(overview).status_code == 404
    expect(row).to_have_count(0)


def test_last_owner_cannot_be_removed(page: Page, setup: TeamSetup) -> None:
    page.goto(f"{setup.url}/settings")
    page.get_by_role("button", name=f"Remove {setup.owner.email}").click()
    expect(page.get_by_role("alert")).to_contain_text("the team's last owner")
    members = setup.server.accounts.members.list_for_team(setup.team)
    assert [(member.user.email, member.role) for member in members] == [
        (setup.owner.email, Role.OWNER)
    ]


# "Copied" is displayed for two seconds, which a poll on a busy machine may miss.
RECORD_TEXTS = """button => {
    const texts = [];
    new MutationObserver(() => texts.push(button.textContent)).observe(button, {childList: true});
    return texts;
}"""


def test_copy_buttons_copy_the_snippets(page: Page, setup: TeamSetup) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{setup.url}/connect")
    page.reload()  # the first load replaces the content as soon as it knows the time zone
    for name, line in (
        ("turbo login", f"npx turbo login --api={setup.server.url}"),
        ("Environment", f"export TURBO_TEAM={setup.team.slug}"),
        ("GitHub Actions", "TURBO_TOKEN: ${{ secrets.TURBO_TOKEN }}"),
        ("GitLab CI", f"  TURBO_API: {setup.server.url}"),
    ):
        block = page.locator(".snippet").filter(has_text=name)
        texts = block.get_by_role("button").evaluate_handle(RECORD_TEXTS)
        block.get_by_role("button").click()
        page.wait_for_function("texts => texts.includes('Copied')", arg=texts)
        copied = page.evaluate("navigator.clipboard.readText()")
        assert line in copied
        assert copied == block.locator("code").inner_text()
    assert console_errors(page) == []


def test_page_updates_while_a_build_runs(page: Page, setup: TeamSetup) -> None:
    page.clock.install()
    page.goto(setup.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("No runs yet")
    page.evaluate("window.notReloaded = true")
    session = str(uuid.uuid4())
    _run_task(page, setup, session, "a" * 16)
    expect(tile(page, "tasks")).to_have_text("1")
    page.get_by_text("Data table (daily)").click()
    today = page.get_by_role("group", name="Tasks by day").get_by_role("link").last
    today.focus()
    page.set_viewport_size({"width": 400, "height": 800})
    page.evaluate("document.querySelector('.data-table .table-scroll').scrollLeft = 60")
    _run_task(page, setup, session, "b" * 16)
    expect(tile(page, "tasks")).to_have_text("2")
    expect(page.get_by_role("region", name="Data table (daily)")).to_be_visible()
    expect(today).to_be_focused()
    assert page.evaluate("document.querySelector('.data-table .table-scroll').scrollLeft") == 60
    page.goto(f"{setup.url}/run?session={session}")
    page.evaluate("window.notReloaded = true")
    _run_task(page, setup, session, "c" * 16)
    expect(page.locator("#misses")).to_have_text("3")
    expect(page.get_by_role("link", name="c" * 16)).to_be_visible()
    assert page.evaluate("window.notReloaded")
    assert console_errors(page) == []


def test_page_does_not_update_while_a_form_field_has_focus(page: Page, setup: TeamSetup) -> None:
    session = str(uuid.uuid4())
    setup.server.send_events(setup.client, miss(session, "a" * 16))
    setup.load_events()
    page.clock.install()
    page.goto(setup.url)
    select(page, "Period").focus()
    select(page, "Period").select_option("7d")
    with page.expect_response(setup.url):
        _run_task(page, setup, session, "b" * 16)
    expect(select(page, "Period")).to_have_value("7d")
    expect(tile(page, "tasks")).to_have_text("1")
    page.get_by_role("heading", level=1).click()
    page.clock.run_for(OVER_POLL_INTERVAL_MS)
    expect(tile(page, "tasks")).to_have_text("2")
    expect(select(page, "Period")).to_have_value("7d")


def _run_task(page: Page, setup: TeamSetup, session: str, artifact: str) -> None:
    """Send the events of one task and let the page poll."""
    setup.server.send_events(setup.client, miss(session, artifact))
    setup.load_events()
    page.clock.run_for(OVER_POLL_INTERVAL_MS)


def test_account_page_and_dashboard_link_to_each_other(page: Page, setup: TeamSetup) -> None:
    page.goto(f"{setup.url}/connect")
    page.get_by_role("link", name=setup.owner.email).click()
    page.wait_for_url("**/account")
    page.get_by_role("region", name="Teams").get_by_role("link", name="The web team").click()
    page.wait_for_url(setup.url)
    page.goto(f"{setup.server.url}/account")
    page.get_by_role("link", name="hitrate").click()
    page.wait_for_url(setup.url)


def test_user_switches_between_teams(page: Page, setup: TeamSetup) -> None:
    other = setup.server.create_team(f"{setup.team.slug}-too", "The app team")
    setup.server.accounts.members.add(other, setup.owner, Role.VIEWER, OPERATOR)
    page.goto(f"{setup.url}/usage")
    page.get_by_text("Switch team").click()
    page.get_by_role("link", name=re.compile("The app team")).click()
    page.wait_for_url(f"**/teams/{other.slug}")
    expect(page.get_by_role("link", name="Settings")).to_have_count(0)
