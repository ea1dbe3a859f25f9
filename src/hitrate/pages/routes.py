"""All HTML pages: their router, their renderer and the static assets that they link to."""

from collections.abc import Mapping
from types import MappingProxyType

from jinja2 import PackageLoader
from litestar import Response, Router, get
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from hitrate.auth.models import Permission
from hitrate.config import Settings
from hitrate.errors import EventStoreUnavailable, RequestError, ServiceUnavailable
from hitrate.http.assets import StaticAsset
from hitrate.http.forms import MAX_FORM_BYTES
from hitrate.http.html import HtmlRenderer, Page
from hitrate.http.litestar import AnyRequest
from hitrate.http.redirects import origin
from hitrate.pages import account, artifacts, login, overview, runs, settings, turbo_consent, usage
from hitrate.pages.context import SCRIPTED_PAGE_HEADERS, template_globals

_BASE_STYLE = StaticAsset("/login/style.css", "hitrate.http", "base.css", "text/css")
_DASHBOARD_STYLE = StaticAsset("/dashboard/style.css", "hitrate.pages", "dashboard.css", "text/css")
_DASHBOARD_SCRIPT = StaticAsset(
    "/dashboard/script.js", "hitrate.pages", "dashboard.js", "text/javascript"
)

# Chromium applies `form-action` to the redirects after a form, too: to turbo, which listens on the
# user's computer, and to the identity provider.
_LOOPBACK_ORIGINS = ("http://127.0.0.1:*", "http://localhost:*")


def create_renderer(config: Settings) -> HtmlRenderer:
    """Create the renderer of all pages."""
    issuer = config.oidc_issuer
    return HtmlRenderer(
        [PackageLoader("hitrate.pages", "templates")],
        {
            **template_globals(),
            "base_style": _BASE_STYLE.url,
            "dashboard_style": _DASHBOARD_STYLE.url,
            "dashboard_script": _DASHBOARD_SCRIPT.url,
        },
        [*_LOOPBACK_ORIGINS, *([origin(issuer)] if issuer else [])],
    )


def create_router(html: HtmlRenderer, *, single_sign_on: bool) -> Router:
    """Create the router of all pages; its error responses are pages, too.

    The pages of single sign-on exist only if an identity provider is configured.
    """
    return Router(
        "/",
        route_handlers=[
            base_style,
            dashboard_style,
            dashboard_script,
            *login.HANDLERS,
            *(login.SSO_HANDLERS if single_sign_on else ()),
            *account.HANDLERS,
            *turbo_consent.HANDLERS,
            _create_dashboard_router(html),
        ],
        include_in_schema=False,
        exception_handlers=_exception_handlers(html),
        request_max_body_size=MAX_FORM_BYTES,
    )


def _create_dashboard_router(html: HtmlRenderer) -> Router:
    """Create the router of the pages of teams, whose errors have the same headers as the pages."""
    return Router(
        "/",
        route_handlers=[
            *overview.HANDLERS,
            *runs.HANDLERS,
            *artifacts.HANDLERS,
            *usage.HANDLERS,
            *settings.HANDLERS,
        ],
        exception_handlers=_exception_handlers(html, SCRIPTED_PAGE_HEADERS),
    )


@get(_BASE_STYLE.path, permission=Permission.PUBLIC, sync_to_thread=False)
def base_style() -> Response[bytes]:
    return _BASE_STYLE.response()


@get(_DASHBOARD_STYLE.path, permission=Permission.PUBLIC, sync_to_thread=False)
def dashboard_style() -> Response[bytes]:
    return _DASHBOARD_STYLE.response()


@get(_DASHBOARD_SCRIPT.path, permission=Permission.PUBLIC, sync_to_thread=False)
def dashboard_script() -> Response[bytes]:
    return _DASHBOARD_SCRIPT.response()


def _exception_handlers(
    html: HtmlRenderer, headers: Mapping[str, str] = MappingProxyType({})
) -> ExceptionHandlersMap:
    """Return handlers that render errors as pages; `headers` override those of other pages."""

    # Plain functions: Litestar deep-copies a router, and with a bound method its object.
    def error_page(request: AnyRequest, error: RequestError) -> Page:
        return _with_headers(html.error_page(request, error), headers)

    def http_exception_page(request: AnyRequest, error: HTTPException) -> Page:
        return _with_headers(html.http_exception_page(request, error), headers)

    def event_store_page(request: AnyRequest, error: EventStoreUnavailable) -> Page:
        message = f"This page is temporarily unavailable: {error}"
        return error_page(request, ServiceUnavailable(message))

    return {
        RequestError: error_page,
        HTTPException: http_exception_page,
        EventStoreUnavailable: event_store_page,
    }


def _with_headers(page: Page, headers: Mapping[str, str]) -> Page:
    page.headers.update(headers)
    return page
