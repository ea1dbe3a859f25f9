"""The routes of this room, and the parts that they work with."""

from collections.abc import Sequence
from dataclasses import replace

from jinja2 import PackageLoader
from litestar.handlers import HTTPRouteHandler

from hitrate.analytics.artifact_reports import ArtifactReports
from hitrate.analytics.reports import Reports
from hitrate.http.assets import asset_api, asset_links
from hitrate.http.html import HtmlRenderer
from hitrate.management.services import AccountServices
from hitrate.pages.artifacts import artifact_pages_api
from hitrate.pages.connect import connect_pages_api
from hitrate.pages.context import Dashboard, page_values
from hitrate.pages.overview import overview_api
from hitrate.pages.runs import run_pages_api
from hitrate.pages.services import PageServices
from hitrate.pages.settings import settings_pages_api
from hitrate.pages.usage import usage_pages_api


def dashboard_api(
    desk: PageServices, office: AccountServices, reports: Reports, cache: ArtifactReports
) -> Sequence[HTTPRouteHandler]:
    """The routes of this room."""
    pages = HtmlRenderer(
        (), [PackageLoader("hitrate.pages", "templates")], {**page_values(), **asset_links()}
    )
    dashboard = Dashboard(replace(desk, pages=pages), office, reports, cache, office.clock)
    rooms = (
        overview_api,
        run_pages_api,
        artifact_pages_api,
        usage_pages_api,
        settings_pages_api,
        connect_pages_api,
    )
    return [*asset_api(), *(handler for room in rooms for handler in room(dashboard))]
