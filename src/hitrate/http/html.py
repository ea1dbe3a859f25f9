"""HTML responses: rendered templates, redirects and error pages, with their security headers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from hitrate.clock import iso
from hitrate.errors import LoginRequired, RequestError
from hitrate.http.errors import error_body, error_response
from hitrate.http.litestar import AnyRequest

Page = Response[bytes]

_DEFAULT_TITLE = "Something's wrong with this request"
_TITLES = {
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    413: "Too large",
    429: "Too many attempts",
    503: "Temporarily unavailable",
}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def format_minute(at_ms: int) -> str:
    """Format UTC milliseconds as `2026-11-21 20:33 UTC`."""
    return iso(at_ms)[:16].replace("T", " ") + " UTC"


def content_security_policy(
    form_targets: Iterable[str] = (), *, scripts: bool = False
) -> dict[str, str]:
    """Return the CSP header of a page.

    Forms may lead to the server itself and to the origins in `form_targets`. The page may run the
    server's own scripts only if `scripts` is set.
    """
    script_policy = "script-src 'self'; connect-src 'self'; " if scripts else ""
    targets = " ".join(("'self'", *form_targets))
    policy = (
        f"default-src 'none'; {script_policy}style-src 'self'; img-src 'self' data:; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )
    return {"content-security-policy": policy}


class HtmlRenderer:
    """Renders Jinja templates as responses.

    Templates come from `loaders`, then from this package; they may use `template_globals`. Forms of
    all pages may lead to the origins in `form_targets`.
    """

    def __init__(
        self,
        loaders: Sequence[BaseLoader] = (),
        template_globals: Mapping[str, Any] | None = None,
        form_targets: Sequence[str] = (),
    ) -> None:
        self._environment = Environment(
            loader=ChoiceLoader([*loaders, PackageLoader("hitrate.http", "templates")]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["minute"] = format_minute
        self._environment.globals.update(template_globals or {})
        self._form_targets = tuple(form_targets)
        self._headers = {**_HEADERS, **self.csp_for()}

    def csp_for(self, *form_targets: str) -> dict[str, str]:
        """Return the CSP header of a page whose forms lead to these origins too."""
        return content_security_policy((*self._form_targets, *form_targets))

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        cookies: Sequence[Cookie] = (),
        **values: Any,
    ) -> Page:
        """Render a template with these values; `headers` override the default ones."""
        text = self._environment.get_template(template).render(values)
        return Response(
            text.encode(),
            status_code=status,
            media_type="text/html",
            headers={**self._headers, **(headers or {})},
            cookies=list(cookies),
        )

    def redirect(self, location: str, cookies: Sequence[Cookie] = ()) -> Page:
        """Redirect the browser to a URL, which it requests with GET."""
        headers = {**self._headers, "location": location}
        return Response(b"", status_code=303, headers=headers, cookies=list(cookies))

    def error_page(self, request: AnyRequest, error: RequestError) -> Page:
        """Respond to an error with a page, or with JSON if the client is not a browser."""
        html = _accepts_html(request)
        if html and isinstance(error, LoginRequired):
            return self.redirect(error.login_url)
        plain = error_response(error)
        headers = {name.decode(): value.decode() for name, value in plain.headers}
        headers.pop("content-type")
        if html:
            return self._render_error(plain.status, str(error), headers)
        return self._json(plain.status, plain.body, headers)

    def http_exception_page(self, request: AnyRequest, error: HTTPException) -> Page:
        """Respond to an error of the web framework as `error_page` does to ours."""
        message = error.detail or "The request is not valid."
        if _accepts_html(request):
            return self._render_error(error.status_code, message, {})
        code = "payload_too_large" if error.status_code == 413 else "bad_request"
        return self._json(error.status_code, error_body(code, message), {})

    def _render_error(self, status: int, message: str, headers: Mapping[str, str]) -> Page:
        title = _TITLES.get(status, _DEFAULT_TITLE)
        return self.render(
            "error.html", status=status, headers=headers, title=title, message=message
        )

    def _json(self, status: int, body: bytes, headers: Mapping[str, str]) -> Page:
        return Response(
            body,
            status_code=status,
            headers={**self._headers, **headers},
            media_type="application/json",
        )


def _accepts_html(request: AnyRequest) -> bool:
    return "text/html" in request.headers.get("accept", "")
