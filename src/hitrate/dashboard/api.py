"""The routes of this room, and the parts that they work with."""

from collections.abc import Sequence
from dataclasses import replace

from jinja2 import PackageLoader
from litestar.handlers import HTTPRouteHandler

from hitrate.accounts.api.office import Office
from hitrate.analytics.cache_reports import CacheReports
from hitrate.analytics.reports import Reports
from hitrate.dashboard.artifacts import artifact_pages_api
from hitrate.dashboard.assets import asset_api, asset_links
from hitrate.dashboard.connect import connect_pages_api
from hitrate.dashboard.frame import Dashboard, page_values
from hitrate.dashboard.overview import overview_api
from hitrate.dashboard.runs import run_pages_api
from hitrate.dashboard.settings import settings_pages_api
from hitrate.dashboard.usage import usage_pages_api
from hitrate.login.desk import Desk
from hitrate.login.pages import Pages


def dashboard_api(
    desk: Desk, office: Office, reports: Reports, cache: CacheReports
) -> Sequence[HTTPRouteHandler]:
    """The routes of this room."""
    pages = Pages(
        (), [PackageLoader("hitrate.dashboard", "templates")], {**page_values(), **asset_links()}
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
