"""Where the server is, who calls it, and for which team. The client's only reader of settings."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from hitrate import __version__
from hitrate.client._operations import Call
from hitrate.client._options import CallOptions
from hitrate.client.errors import BadRequest

_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Connection:
    """`url` without a slash at its end; the token never shows."""

    url: str
    token: str = field(repr=False)
    team_id: str | None
    slug: str | None
    timeout: float | httpx.Timeout

    def request(self, call: Call[Any], options: CallOptions) -> dict[str, Any]:
        """What httpx needs for a request, all but its content."""
        return {
            "method": call.method,
            "url": self.url + call.path + self._query(call.query, options),
            "headers": {
                "authorization": f"Bearer {self.token}",
                "user-agent": f"hitrate-python/{__version__}",
                **call.headers,
            },
            "timeout": _checked_timeout(options.get("timeout", self.timeout)),
        }

    def _query(self, asked: Mapping[str, str], options: CallOptions) -> str:
        """A team that the call names replaces the client's altogether; an empty one is none."""
        team_id, slug = options.get("team_id"), options.get("slug")
        if team_id is None and slug is None:
            team_id, slug = self.team_id, self.slug
        named = {**asked, "slug": slug, "teamId": team_id}
        query = urlencode({name: v for name, v in named.items() if v}, quote_via=quote, safe="")
        return f"?{query}" if query else ""


def connection(
    bearer_token: str | None,
    server_url: str | None,
    team_id: str | None,
    slug: str | None,
    timeout: float | httpx.Timeout,
    environ: Mapping[str, str] = os.environ,
) -> Connection:
    """What was given, the rest from turbo's variables. Raises BadRequest for what is missing.

    A team that is given, by id or slug, is the only one: the environment's is then left alone.
    """
    if team_id is None and slug is None:
        slug = environ.get("TURBO_TEAM") or None
        # As `turbo` does: an id is only an id if it looks like one.
        named = environ.get("TURBO_TEAMID", "")
        team_id = named if named.startswith("team_") else None
    token = bearer_token if bearer_token is not None else environ.get("TURBO_TOKEN", "")
    url = server_url if server_url is not None else environ.get("TURBO_API", "")
    return Connection(
        _checked_url(url), _checked_token(token), team_id, slug, _checked_timeout(timeout)
    )


def _checked_url(url: str) -> str:
    if not url:
        raise BadRequest(
            "No server is named: give server_url, or set TURBO_API "
            "(Vercel's own is https://api.vercel.com)."
        )
    try:
        parts = urlsplit(url)
        sound = bool(_URL.fullmatch(url) and parts.hostname and parts.port != 0)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        sound = False
    if not sound:
        # It may hold a password before an @.
        shown = repr(url) if "@" not in url else "one with a user's name"
        raise BadRequest(f"server_url must be like https://cache.example.com, not {shown}.")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    if not token:
        raise BadRequest("There is no token: give bearer_token, or set TURBO_TOKEN.")
    # The token itself is never shown, also not when it is wrong.
    if not re.fullmatch(r"[!-~]+", token):
        raise BadRequest("The token has characters that no token has; was it copied whole?")
    return token


def _checked_timeout(timeout: object) -> float | httpx.Timeout:
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if isinstance(timeout, int | float) and timeout > 0:
        return float(timeout)
    raise BadRequest(f"timeout must be a number of seconds above 0, not {timeout!r}.")


@contextmanager
def made_by_httpx() -> Iterator[None]:
    """Around the making of httpx's own client, which reads proxies and the like from outside."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise BadRequest(f"httpx cannot be set up, perhaps for a proxy: {error}") from error
