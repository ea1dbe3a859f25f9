"""Connect: the lines to paste for `turbo`, GitHub Actions and GitLab CI."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.auth.models import Permission
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.pages.context import Dashboard


def connect_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/connect", **dashboard.page)
    @run_in_thread
    def connect(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Permission.TEAM)
        return dashboard.show(
            visit, "connect_team.html", url=dashboard.public_url.for_request(request)
        )

    return [connect]
