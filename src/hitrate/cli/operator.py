"""Requests to the running server as its operator.

The operator is anyone who can write to the data directory: the command inserts a token that is
valid for one minute into the database, and deletes it afterwards.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from hitrate.auth.tokens import COMMAND_TOKEN_LIFETIME_S
from hitrate.cli.output import CommandError
from hitrate.cli.server_options import accounts, find_team
from hitrate.config import Settings, load_settings
from hitrate.datadir import ServerInfo, read_server_info
from hitrate.errors import HitrateError

if TYPE_CHECKING:
    from hitrate.client import Hitrate

_TIMEOUT_S = 600.0


class ServerError(HitrateError):
    """The running server does not respond, or refuses a request."""


class OperatorClient:
    """Client of the running server with the operator's permissions."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def request(self, method: str, path: str, **query: str | int | None) -> bytes:
        """Return the body of the response, which is JSON. Raises ServerError."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            response = self._client.request(method, path, params=params)
        except httpx.HTTPError as error:
            raise ServerError(
                f"The server at {self._client.base_url} does not respond: {error}."
            ) from error
        if response.status_code != 200:
            raise ServerError(_error_message(response))
        return response.content


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server responded with {response.status_code}: {response.text[:200]}"


@contextmanager
def operator_client(settings: Settings, running: ServerInfo) -> Iterator[OperatorClient]:
    """Connect to the server that runs on the data directory, with a temporary token."""
    with _temporary_token(settings, running) as (client, _):
        yield OperatorClient(client)


@contextmanager
def team_client(data_dir: str | None, config: Path | None, slug: str) -> "Iterator[Hitrate]":
    """Open a client for one team of the server on a data directory. Raises CommandError."""
    from hitrate.client import Hitrate

    try:
        settings = load_settings({"data_dir": data_dir}, config)
        with accounts(settings) as store:
            find_team(store, slug)
        running = read_server_info(settings.data_dir)
        if running is None:
            raise HitrateError(
                f"No server runs on the data directory {settings.data_dir}. Start it with `hitrate "
                "serve`, or set TURBO_API and TURBO_TOKEN to use one elsewhere."
            )
        with (
            _temporary_token(settings, running) as (http, secret),
            Hitrate(
                secret, server_url=running.url, slug=slug, timeout=_TIMEOUT_S, http_client=http
            ) as client,
        ):
            yield client
    except HitrateError as error:
        raise CommandError(str(error)) from error


@contextmanager
def _temporary_token(settings: Settings, running: ServerInfo) -> Iterator[tuple[httpx.Client, str]]:
    """Yield an HTTP client with a temporary operator token, and the secret of that token."""
    with accounts(settings) as store:
        token, secret = store.tokens.create(
            None, "operator", scopes=(), lifetime_s=COMMAND_TOKEN_LIFETIME_S, actor=None
        )
        try:
            with httpx.Client(
                base_url=running.url,
                headers={"authorization": f"Bearer {secret}"},
                timeout=_TIMEOUT_S,
                verify=_tls_verification(running),
                trust_env=False,
            ) as client:
                yield client, secret
        finally:
            store.tokens.delete(token)


def _tls_verification(server: ServerInfo) -> ssl.SSLContext | bool:
    if server.tls_cert is None or not Path(server.tls_cert).is_file():
        return True
    # The certificate itself is trusted; its name need not match this machine's address.
    context = ssl.create_default_context(cafile=server.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
