"""Server, token and team of a client, from arguments or turbo's environment variables."""

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
    """Server, token, team and timeout. `url` has no trailing slash; `repr` hides the token."""

    url: str
    token: str = field(repr=False)
    team_id: str | None
    slug: str | None
    timeout: float | httpx.Timeout

    def request(self, call: Call[Any], options: CallOptions) -> dict[str, Any]:
        """Return httpx's arguments for a request, without its content."""
        return {
            "method": call.method,
            "url": self.url + call.path + self._query(call.query, options),
            "headers": {
                "authorization": f"Bearer {self.token}",
                "user-agent": f"hitrate-python/{__version__}",
                **call.headers,
            },
            "timeout": _validate_timeout(options.get("timeout", self.timeout)),
        }

    def _query(self, parameters: Mapping[str, str], options: CallOptions) -> str:
        """Return the query string. A team named by the call replaces the client's team."""
        team_id, slug = options.get("team_id"), options.get("slug")
        if team_id is None and slug is None:
            team_id, slug = self.team_id, self.slug
        values = {**parameters, "slug": slug, "teamId": team_id}
        query = urlencode({name: v for name, v in values.items() if v}, quote_via=quote, safe="")
        return f"?{query}" if query else ""


def connection(
    bearer_token: str | None,
    server_url: str | None,
    team_id: str | None,
    slug: str | None,
    timeout: float | httpx.Timeout,
    environ: Mapping[str, str] = os.environ,
) -> Connection:
    """Combine arguments with turbo's variables. Raises BadRequest if something is missing.

    The environment's team is used only if neither `team_id` nor `slug` is passed.
    """
    if team_id is None and slug is None:
        slug = environ.get("TURBO_TEAM") or None
        # As in `turbo`, a value without this prefix is ignored.
        variable = environ.get("TURBO_TEAMID", "")
        team_id = variable if variable.startswith("team_") else None
    token = bearer_token if bearer_token is not None else environ.get("TURBO_TOKEN", "")
    url = server_url if server_url is not None else environ.get("TURBO_API", "")
    return Connection(
        _validate_url(url), _validate_token(token), team_id, slug, _validate_timeout(timeout)
    )


def _validate_url(url: str) -> str:
    if not url:
        raise BadRequest(
            "No server is configured: pass server_url, or set TURBO_API "
            "(Vercel's is https://api.vercel.com)."
        )
    try:
        parts = urlsplit(url)
        is_valid = bool(_URL.fullmatch(url) and parts.hostname and parts.port != 0)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        is_valid = False
    if not is_valid:
        # The part before an @ may be a password.
        text = repr(url) if "@" not in url else "a URL with a user name"
        raise BadRequest(f"server_url must look like https://cache.example.com, not {text}.")
    return url.rstrip("/")


def _validate_token(token: str) -> str:
    if not token:
        raise BadRequest("No token is configured: pass bearer_token, or set TURBO_TOKEN.")
    # The token is never part of a message, even if it is invalid.
    if not re.fullmatch(r"[!-~]+", token):
        raise BadRequest(
            "The token contains invalid characters. Was it copied without spaces and line breaks?"
        )
    return token


def _validate_timeout(timeout: object) -> float | httpx.Timeout:
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if isinstance(timeout, int | float) and timeout > 0:
        return float(timeout)
    raise BadRequest(f"timeout must be a number of seconds above 0, not {timeout!r}.")


@contextmanager
def map_setup_errors() -> Iterator[None]:
    """Translate errors of creating an httpx client, which reads proxy settings."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise BadRequest(
            f"The HTTP client cannot be created (check the proxy settings): {error}"
        ) from error
