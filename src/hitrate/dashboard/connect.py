"""Connect: the lines to paste for `turbo`, GitHub Actions and GitLab CI."""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from hitrate.accounts.model import Access
from hitrate.dashboard.frame import Dashboard
from hitrate.login.desk import in_thread
from hitrate.login.pages import Page
from hitrate.web.framework import AnyRequest


def connect_pages_api(dashboard: Dashboard) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get("/teams/{slug:str}/connect", **dashboard.page)
    @in_thread
    def connect(request: AnyRequest, slug: FromPath[str]) -> Page:
        visit = dashboard.visit(request, slug, Access.TEAM)
        return dashboard.show(visit, "connect_team.html", url=dashboard.desk.site.url(request))

    return [connect]
