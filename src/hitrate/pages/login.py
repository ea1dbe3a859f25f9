"""The way in and out: `/login` and `/logout`."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from hitrate.auth.guards import current_session
from hitrate.errors import RateLimited
from hitrate.http.cookies import BROWSER, SESSION, form_token
from hitrate.http.html import Page
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.http.redirects import safe_redirect
from hitrate.pages.services import PageServices

_WRONG = "The e-mail address or the password is wrong."


def entrance_api(desk: PageServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""

    def sign_in_page(
        request: AnyRequest,
        wanted: str | None,
        *,
        status: int = 200,
        problem: str | None = None,
        email: str = "",
        headers: dict[str, str] | None = None,
    ) -> Page:
        secret, cookie = desk.site.browser(request)
        return desk.pages.show(
            "login.html",
            status=status,
            headers=headers,
            cookies=[cookie],
            form_token=form_token(secret),
            next=safe_redirect(wanted),
            provider=desk.provider_name,
            problem=problem,
            email=email[:254],
        )

    @get("/login", **desk.page)
    @run_in_thread
    def ask(request: AnyRequest) -> Page:
        wanted = request.query_params.get("next")
        if desk.signed_in.find(request) is not None:
            return desk.pages.send(safe_redirect(wanted))
        return sign_in_page(request, wanted)

    @post("/login", **desk.page)
    @run_in_thread
    def check(request: AnyRequest, body: RawBody) -> Page:
        form = desk.form(request, body, desk.site.secret(request, BROWSER))
        wanted, email = form.one("next"), form.one("email")
        try:
            user = desk.password_login.authenticate(email, form.one("password"))
        except RateLimited as error:
            headers = {"retry-after": str(error.retry_after_s)}
            return sign_in_page(
                request, wanted, status=429, problem=str(error), email=email, headers=headers
            )
        if user is None:
            return sign_in_page(request, wanted, status=403, problem=_WRONG, email=email)
        return desk.welcome(request, desk.sessions.create(user), wanted)

    @post("/logout", **desk.page, guards=[desk.signed_in])
    @run_in_thread
    def leave(request: AnyRequest, body: RawBody) -> Page:
        session = current_session(request)
        desk.form(request, body, session.secret)
        desk.sessions.delete(session.secret)
        return desk.pages.send("/login", [desk.site.without(request, SESSION)])

    return [ask, check, leave]
