"""The real `turbo` logs in, links, builds, unlinks and logs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Token
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support import monorepo, node_packages
from tests.support.browser import console_errors
from tests.support.browser_fixtures import StartProvider, skip_or_fail
from tests.support.browser_user import create_user, open_accounts, submit_login
from tests.support.server import Server, eventually
from tests.support.turbo_terminal import TurboProcess, TurboTerminal

EMAIL = "ann@example.com"
RELEASES = {"turbo-1.13": "pipeline", "turbo-2.0": "tasks", "turbo-2.5": "tasks"}
AFTER_SSO = "https://vercel.com/notifications/cli-login-success**"
AUTHORIZED = f"Turborepo CLI authorized for {EMAIL}"

TurboOf = Callable[..., TurboTerminal]


@pytest.fixture
def turbo_of(tmp_path: Path) -> TurboOf:
    """A function that sets up a release of turbo in a new repository for a server."""

    def turbo_of(server: Server, alias: str = "turbo") -> TurboTerminal:
        try:
            program = node_packages.install().turbo(alias)
        except node_packages.NodeUnavailableError as error:
            skip_or_fail(error)
        repo = monorepo.generate(tmp_path / "repo", tasks_key=RELEASES.get(alias, "tasks"))
        return TurboTerminal(program, repo, server, tmp_path / "home")

    return turbo_of


@pytest.fixture
def turbo(server: Server, turbo_of: TurboOf) -> TurboTerminal:
    """The newest turbo of a user in the team `web`."""
    create_user(server, EMAIL, "web")
    return turbo_of(server)


def tokens(server: Server) -> list[Token]:
    with open_accounts(server) as accounts:
        return accounts.tokens.list_for_user(accounts.users.get(EMAIL))


def allow(page: Page, command: TurboProcess, final_url: str) -> None:
    """Log in and allow the token in the browser that turbo opens."""
    page.route("https://vercel.com/**", lambda route: route.abort())
    page.goto(command.opened_url())
    if page.get_by_label("Password").count():
        submit_login(page, EMAIL)
    with page.expect_request(final_url):
        page.get_by_role("button", name="Allow").click()


def forget_local_builds(turbo: TurboTerminal) -> None:
    """Delete the local cache but keep the link, which is stored beside it."""
    link = turbo.repo.root / ".turbo" / "config.json"
    content = link.read_text()
    turbo.repo.delete_builds()
    link.parent.mkdir()
    link.write_text(content)


def log_in(page: Page, turbo: TurboTerminal, *options: str) -> None:
    with turbo.start("login", *options) as command:
        allow(page, command, f"{turbo.server.url}/turborepo/success")
        assert command.wait() == 0, command.text
        assert AUTHORIZED in command.text
    page.get_by_role("heading", name="turbo is connected").wait_for()


def test_login_saves_a_token_for_all_teams_of_the_user(page: Page, turbo: TurboTerminal) -> None:
    log_in(page, turbo)
    [token] = tokens(turbo.server)
    assert (token.label, token.team) == ("turbo login", None)
    saved = turbo.saved_token()
    response = turbo.server.request("GET", "/v2/user", token=saved)
    assert response.json()["user"]["email"] == EMAIL
    assert console_errors(page) == []


def test_second_login_uses_the_saved_token(page: Page, turbo: TurboTerminal) -> None:
    log_in(page, turbo)
    text = turbo.run("login")
    assert "Using existing login." in text
    assert AUTHORIZED in text
    assert len(tokens(turbo.server)) == 1


def test_login_force_replaces_a_revoked_token(page: Page, turbo: TurboTerminal) -> None:
    """Without --force, turbo fails with the 401, whichever server it uses."""
    log_in(page, turbo)
    saved = turbo.saved_token()
    turbo.server.request("DELETE", "/v3/user/tokens/current", token=saved)
    log_in(page, turbo, "--force")
    assert turbo.saved_token() != saved


def test_build_uses_the_saved_token_after_link(page: Page, turbo: TurboTerminal) -> None:
    log_in(page, turbo)
    server = turbo.server
    text = turbo.run("link", "--yes", "--scope", "web")
    assert "Turborepo CLI authorized for web" in text
    turbo.run("run", "build", "--no-daemon", "--output-logs=none")
    forget_local_builds(turbo)
    assert "FULL TURBO" in turbo.run("run", "build", "--no-daemon")
    web = server.create_token("--scopes", "analytics", team="web")

    def hits() -> int:
        events = [(event["source"], event["event"]) for event in server.events(token=web)]
        return events.count(("REMOTE", "HIT"))

    eventually(lambda: hits() == 24)
    assert "Disabled Remote Caching" in turbo.run("unlink")


def test_link_offers_the_teams_of_the_user(page: Page, turbo: TurboTerminal) -> None:
    create_user(turbo.server, "bob@example.com", "ops")
    with open_accounts(turbo.server) as accounts:
        ops = accounts.teams.find(slug="ops")
        assert ops is not None
        accounts.members.add(ops, accounts.users.get(EMAIL), Role.MEMBER, OPERATOR)
    log_in(page, turbo)
    with turbo.start("link") as command:
        command.wait_for_text("Enable Vercel Remote Cache")
        command.type_keys("y")
        command.wait_for_text("> ops")
        command.type_keys("\x1b[B")
        command.wait_for_text("> web")
        command.type_keys("\r")
        assert command.wait() == 0, command.text
        assert "Turborepo CLI authorized for web" in command.text


def test_logout_invalidate_revokes_the_token(page: Page, turbo: TurboTerminal) -> None:
    log_in(page, turbo)
    saved = turbo.saved_token()
    assert saved is not None
    assert "Logged out" in turbo.run("logout", "--invalidate")
    assert turbo.saved_token() is None
    assert turbo.server.request("GET", "/v2/user", token=saved).status_code == 401
    [token] = tokens(turbo.server)
    assert token.revoked_at_ms is not None


def test_sso_team_login_works_with_a_password(page: Page, turbo: TurboTerminal) -> None:
    with turbo.start("login", "--sso-team=web", "--force") as command:
        allow(page, command, AFTER_SSO)
        assert command.wait() == 0, command.text
        assert AUTHORIZED in command.text
    [token] = tokens(turbo.server)
    assert token.team is not None
    assert token.team.slug == "web"
    assert token.label.startswith("Turbo CLI on ")
    again = turbo.run("login", "--sso-team=web")
    assert "Using existing login." in again
    assert "Logged out" in turbo.run("logout", "--invalidate")
    assert tokens(turbo.server)[0].revoked_at_ms is not None


def test_sso_team_login_works_at_the_provider(
    page: Page, tmp_path: Path, start_provider: StartProvider, turbo_of: TurboOf
) -> None:
    server = Server(tmp_path / "sso")
    provider = start_provider(f"{server.url}/login/sso/callback")
    server.options = (
        *("--oidc-issuer", provider.url, "--oidc-client-id", provider.client_id),
        *("--oidc-client-secret", provider.client_secret),
    )
    server.start()
    try:
        create_user(server, EMAIL, "web", password=None)
        page.route("https://vercel.com/**", lambda route: route.abort())
        with turbo_of(server).start("login", "--sso-team=web", "--force") as command:
            page.goto(command.opened_url())
            field = page.get_by_label("Login")
            field.fill("ann")
            page.get_by_role("button", name="Sign in", exact=True).click()
            with page.expect_request(AFTER_SSO):
                page.get_by_role("button", name="Allow").click()
            assert command.wait() == 0, command.text
            assert AUTHORIZED in command.text
        [token] = tokens(server)
        assert token.team is not None
        assert token.team.slug == "web"
    finally:
        server.kill()


def test_sso_team_login_is_refused_to_users_outside_the_team(
    page: Page, turbo: TurboTerminal
) -> None:
    with turbo.start("login", "--sso-team=ops", "--force") as command:
        page.goto(command.opened_url())
        submit_login(page, EMAIL)
        assert "is not in the team 'ops'" in page.get_by_role("alert").inner_text()
    assert tokens(turbo.server) == []


@pytest.mark.parametrize("alias", RELEASES)
def test_login_works_with_older_turbo_releases(
    page: Page, server: Server, turbo_of: TurboOf, alias: str
) -> None:
    create_user(server, EMAIL, "web")
    turbo = turbo_of(server, alias)
    with turbo.start("login") as command:
        assert "state" not in parse_qs(urlsplit(command.opened_url()).query)
        allow(page, command, f"{server.url}/turborepo/success")
        assert command.wait() == 0, command.text
        assert AUTHORIZED in command.text
    assert AUTHORIZED in turbo.run("login")
    assert len(tokens(server)) == 1
