"""The dashboard's style sheet and script, named by their content, so that browsers keep them."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

STYLE = "/dashboard/style.css"
SCRIPT = "/dashboard/script.js"

_FILES = {STYLE: ("dashboard.css", "text/css"), SCRIPT: ("dashboard.js", "text/javascript")}
_YEAR_S = 365 * 86400


def asset_links() -> dict[str, str]:
    """What templates call them."""
    return {
        "dashboard_style": f"{STYLE}?v={_version(STYLE)}",
        "dashboard_script": f"{SCRIPT}?v={_version(SCRIPT)}",
    }


def asset_api() -> list[HTTPRouteHandler]:
    """The routes of this file."""

    @get(STYLE, include_in_schema=False, sync_to_thread=False)
    def style() -> Response[bytes]:
        return _answer(STYLE)

    @get(SCRIPT, include_in_schema=False, sync_to_thread=False)
    def script() -> Response[bytes]:
        return _answer(SCRIPT)

    return [style, script]


def _answer(path: str) -> Response[bytes]:
    headers = {
        "cache-control": f"public, max-age={_YEAR_S}, immutable",
        "x-content-type-options": "nosniff",
    }
    return Response(_content(path), media_type=_FILES[path][1], headers=headers)


@cache
def _content(path: str) -> bytes:
    return files("hitrate.pages").joinpath(f"static/{_FILES[path][0]}").read_bytes()


@cache
def _version(path: str) -> str:
    return sha256(_content(path)).hexdigest()[:12]
