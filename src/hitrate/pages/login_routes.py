"""The routes of this room, and the parts that they work with."""

from collections.abc import Sequence

from litestar.handlers import HTTPRouteHandler
from sqlalchemy import Engine

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import SessionGuard
from hitrate.auth.oidc import Provider
from hitrate.auth.password_login import PasswordAuthenticator
from hitrate.auth.sessions import OneTimeStore, Sessions
from hitrate.auth.sso import SingleSignOn, sso_api
from hitrate.auth.turbo_login import TurboLogin
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.http.cookies import Site
from hitrate.http.html import HtmlRenderer, style_api
from hitrate.http.redirects import origin
from hitrate.management.turbo import turbo_api
from hitrate.metrics import Metrics
from hitrate.pages.account import account_page_api
from hitrate.pages.login import entrance_api
from hitrate.pages.services import PageServices
from hitrate.pages.turbo_consent import connect_api

# Chromium holds these against redirects after a form, too: to turbo, and to the provider.
_LOOPBACKS = ("http://127.0.0.1:*", "http://localhost:*")


def make_desk(
    engine: Engine,
    accounts: AccountStore,
    authorizer: Authorizer,
    metrics: Metrics,
    settings: Settings,
    clock: Clock,
) -> PageServices:
    """The parts that pages work with."""
    issuer = settings.oidc_issuer
    sessions, site = Sessions(engine, clock), Site(settings.public_url)
    return PageServices(
        settings=settings,
        accounts=accounts,
        authorizer=authorizer,
        clock=clock,
        sessions=sessions,
        one_time_store=OneTimeStore(engine, clock),
        password_login=PasswordAuthenticator(accounts.users, metrics, clock),
        site=site,
        pages=HtmlRenderer([*_LOOPBACKS, *([origin(issuer)] if issuer else [])]),
        signed_in=SessionGuard(sessions, site),
    )


def login_api(desk: PageServices) -> Sequence[HTTPRouteHandler]:
    """The routes of this room."""
    settings = desk.settings
    tickets = TurboLogin(desk)
    sso = None
    if settings.oidc_issuer:
        provider = Provider(
            settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, desk.clock
        )
        sso = SingleSignOn(desk, provider)
    return [
        *style_api(),
        *entrance_api(desk),
        *account_page_api(desk),
        *connect_api(desk, tickets, sso),
        *(sso_api(desk, sso) if sso else []),
        *turbo_api(desk.accounts, desk.authorizer),
    ]
