"""URLs that browsers are sent to: the server's own, and which others are safe."""

import re
from urllib.parse import urlencode, urlsplit, urlunsplit

from hitrate.errors import BadRequest
from hitrate.http.litestar import AnyConnection

DASHBOARD_PATH = "/"
ACCOUNT_PATH = "/account"

_MAX_URL_LENGTH = 2048

# Browsers read a backslash as a slash and drop tabs and line ends, so the pattern excludes them.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_LOGIN_PATH = re.compile(r"/log(in|out)(?![A-Za-z0-9_-])")
_LOOPBACK_URL = re.compile(
    r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class PublicUrl:
    """The server's URL as browsers see it: `configured`, or derived from each request if empty."""

    def __init__(self, configured: str) -> None:
        self._configured = configured

    def for_request(self, connection: AnyConnection) -> str:
        """Return scheme, host and port. Raises BadRequest if the Host header is invalid."""
        if self._configured:
            return self._configured
        host = connection.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise BadRequest("The Host header is missing or invalid.")
        return f"{connection.scope['scheme']}://{host}"

    def is_https(self, connection: AnyConnection) -> bool:
        """Return whether browsers reach the server over TLS."""
        return connection.scope["scheme"] == "https" or self._configured.startswith("https:")

    def hosts(self, connection: AnyConnection) -> set[str]:
        """Return the hosts, with port, under which the server's own pages are served."""
        return {connection.headers.get("host", ""), urlsplit(self._configured).netloc} - {""}


def safe_redirect(url: str | None) -> str:
    """Return `url` if it is a path of this server that can follow a login, else the dashboard's."""
    if url is None or len(url) > 2 * _MAX_URL_LENGTH or not _LOCAL_PATH.fullmatch(url):
        return DASHBOARD_PATH
    return DASHBOARD_PATH if _LOGIN_PATH.match(url) else url


def loopback_url(url: str | None, parameter: str) -> str:
    """Return `url` if it is on the user's own computer.

    Raises BadRequest, naming the query parameter, if it is anywhere else.
    """
    if url is None or len(url) > _MAX_URL_LENGTH or not _LOOPBACK_URL.fullmatch(url):
        raise BadRequest(
            f"{parameter} must be an http:// URL on this computer (127.0.0.1, localhost or [::1]). "
            "Nothing was sent."
        )
    return url


def with_query(url: str, parameters: dict[str, str]) -> str:
    """Append query parameters to a URL."""
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(parameters)) if text)
    return urlunsplit(parts._replace(path=parts.path or "/", query=query))


def path_and_query(connection: AnyConnection) -> str:
    """Return path and query of a request."""
    query = connection.scope["query_string"].decode("latin-1")
    path: str = connection.scope["path"]
    return f"{path}?{query}" if query else path


def origin(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
