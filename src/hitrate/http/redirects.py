"""Addresses that come from outside, and whether a browser may be sent there. Pure."""

import re
from urllib.parse import urlencode, urlsplit, urlunsplit

from hitrate.errors import BadRequest

START = "/"
"""Where signing in leads: the dashboard."""

HOME = "/account"

_MOST = 2048

# Browsers read a backslash as a slash and leave out tabs and line ends, so neither may be there.
_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_SIGN_IN = re.compile(r"/log(in|out)(?![A-Za-z0-9_-])")
_LOOPBACK = re.compile(
    r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.IGNORECASE,
)


def safe_redirect(wanted: str | None) -> str:
    """Where to go after signing in: a path of this server, or its start."""
    if wanted is None or len(wanted) > 2 * _MOST or not _HERE.fullmatch(wanted):
        return START
    return START if _SIGN_IN.match(wanted) else wanted


def loopback(url: str | None, name: str) -> str:
    """The address of a program on the person's own computer. Raises BadRequest for any other."""
    if url is None or len(url) > _MOST or not _LOOPBACK.fullmatch(url):
        raise BadRequest(
            f"{name} must be an http:// address on this computer (127.0.0.1, localhost or [::1]); "
            "nothing was sent anywhere."
        )
    return url


def with_query(url: str, parameters: dict[str, str]) -> str:
    """The address with these parameters after those that it has."""
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(parameters)) if text)
    return urlunsplit(parts._replace(path=parts.path or "/", query=query))


def origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
