"""HtmlRenderer: templates in, answers out, with the headers that keep a page to itself."""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from hitrate.clock import iso
from hitrate.errors import LoginRequired, RequestError
from hitrate.http.errors import error_body, error_response
from hitrate.http.litestar import AnyRequest

Page = Response[bytes]

STYLE = "/login/style.css"
_YEAR_S = 365 * 86400
_TITLES = {
    400: "That did not work",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    413: "Too large",
    429: "Too many attempts",
    503: "Not available now",
}


@cache
def _style() -> tuple[bytes, str]:
    """The style sheet and a name for this version of it."""
    text = files("hitrate.http").joinpath("static/base.css").read_bytes()
    return text, sha256(text).hexdigest()[:12]


def day(at_ms: int) -> str:
    """`2026-11-21 20:33 UTC`."""
    return iso(at_ms)[:16].replace("T", " ") + " UTC"


class HtmlRenderer:
    """Makes pages. `form_targets` are the origins, other than ours, that forms may lead to."""

    def __init__(
        self,
        form_targets: Sequence[str],
        templates: Sequence[BaseLoader] = (),
        names: Mapping[str, Any] | None = None,
    ) -> None:
        """`templates` other than ours, and what those may use by name; pages made of them may run
        the server's own scripts, which ours do not need."""
        self._environment = Environment(
            loader=ChoiceLoader(
                [
                    *templates,
                    PackageLoader("hitrate.http", "templates"),
                    PackageLoader("hitrate.pages", "templates"),
                ]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["day"] = day
        self._environment.globals.update(names or {})
        self._environment.globals["style"] = f"{STYLE}?v={_style()[1]}"
        self._form_targets = ("'self'", *form_targets)
        self._scripts = "script-src 'self'; connect-src 'self'; " if templates else ""
        self._headers = {
            "content-security-policy": self._policy(),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
        }

    def _policy(self, *also: str) -> str:
        targets = " ".join((*self._form_targets, *also))
        return (
            f"default-src 'none'; {self._scripts}style-src 'self'; img-src 'self' data:; "
            f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
        )

    def leading_to(self, target: str, *onwards: str) -> dict[str, str]:
        """The headers of a page whose form leads to a program on the person's computer, and from
        there to these origins."""
        # A policy has no way to write [::1].
        also = ["http:"] if "[" in target else []
        return {"content-security-policy": self._policy(*also, *onwards)}

    def show(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        cookies: Sequence[Cookie] = (),
        **values: Any,
    ) -> Page:
        """The page that the template makes of the values."""
        text = self._environment.get_template(template).render(values)
        return Response(
            text.encode(),
            status_code=status,
            media_type="text/html",
            headers={**self._headers, **(headers or {})},
            cookies=list(cookies),
        )

    def send(self, location: str, cookies: Sequence[Cookie] = ()) -> Page:
        """Send the browser to another address, where it asks with GET."""
        headers = {**self._headers, "location": location}
        return Response(b"", status_code=303, headers=headers, cookies=list(cookies))

    def refused(self, request: AnyRequest, error: RequestError) -> Page:
        """A refusal as a page for a browser, as JSON for anything else."""
        html = "text/html" in request.headers.get("accept", "")
        if html and isinstance(error, LoginRequired):
            return self.send(error.login_url)
        plain = error_response(error)
        headers = {name.decode(): value.decode() for name, value in plain.headers}
        headers.pop("content-type")
        if html:
            return self._failure(plain.status, str(error), headers)
        return Response(
            plain.body,
            status_code=plain.status,
            headers={**self._headers, **headers},
            media_type="application/json",
        )

    def framework_refused(self, request: AnyRequest, error: HTTPException) -> Page:
        """The same for what the framework refuses by itself."""
        message = error.detail or "The request was not understood."
        if "text/html" in request.headers.get("accept", ""):
            return self._failure(error.status_code, message, {})
        code = "payload_too_large" if error.status_code == 413 else "bad_request"
        return Response(
            error_body(code, message),
            status_code=error.status_code,
            headers=self._headers,
            media_type="application/json",
        )

    def _failure(self, status: int, message: str, headers: Mapping[str, str]) -> Page:
        title = _TITLES.get(status, "That did not work")
        return self.show("error.html", status=status, headers=headers, title=title, message=message)


def style_api() -> list[HTTPRouteHandler]:
    """The style sheet, which pages name by its version, so it may be kept."""

    @get(STYLE, include_in_schema=False, sync_to_thread=False)
    def style() -> Response[bytes]:
        headers = {
            "cache-control": f"public, max-age={_YEAR_S}, immutable",
            "x-content-type-options": "nosniff",
        }
        return Response(_style()[0], media_type="text/css", headers=headers)

    return [style]
