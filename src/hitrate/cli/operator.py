"""Talking to the running server as its operator: whoever may read the data folder.

A token that lives a minute is put into the database and removed afterwards; no secret is kept.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from hitrate.auth.tokens import COMMAND_TOKEN_LIFETIME_S
from hitrate.cli.output import Failed
from hitrate.cli.server_options import accounts, find_team
from hitrate.config import Settings, load_settings
from hitrate.datadir import ServerInfo, read_server_info
from hitrate.errors import HitrateError

if TYPE_CHECKING:
    from hitrate.client import Hitrate

_TIMEOUT_S = 600.0


class ServerProblem(HitrateError):
    """The running server did not do what was asked."""


class OperatorClient:
    """Requests to the running server; answers as bytes of JSON."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def call(self, method: str, path: str, **query: str | int | None) -> bytes:
        """The body of the answer. Raises ServerProblem."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            response = self._client.request(method, path, params=params)
        except httpx.HTTPError as error:
            raise ServerProblem(
                f"The server at {self._client.base_url} does not answer: {error}."
            ) from error
        if response.status_code != 200:
            raise ServerProblem(_message(response))
        return response.content


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {response.status_code}: {response.text[:200]}"


@contextmanager
def operator_client(settings: Settings, read_server_info: ServerInfo) -> Iterator[OperatorClient]:
    """A client of the server that holds the data folder."""
    with _authorized(settings, read_server_info) as (client, _):
        yield OperatorClient(client)


@contextmanager
def team_client(data_dir: str | None, config: Path | None, slug: str) -> "Iterator[Hitrate]":
    """A client, for one team, of the server that holds the data folder. Raises Failed."""
    from hitrate.client import Hitrate

    try:
        settings = load_settings({"data_dir": data_dir}, config)
        with accounts(settings) as store:
            find_team(store, slug)
        running = read_server_info(settings.data_dir)
        if running is None:
            raise HitrateError(
                f"No server runs on the data folder {settings.data_dir}: start it with `hitrate "
                "serve`, or set TURBO_API and TURBO_TOKEN to ask one elsewhere."
            )
        with (
            _authorized(settings, running) as (http, secret),
            Hitrate(
                secret, server_url=running.url, slug=slug, timeout=_TIMEOUT_S, http_client=http
            ) as client,
        ):
            yield client
    except HitrateError as error:
        raise Failed(str(error)) from error


@contextmanager
def _authorized(settings: Settings, running: ServerInfo) -> Iterator[tuple[httpx.Client, str]]:
    """Connections as the operator, and the secret that makes them that."""
    with accounts(settings) as store:
        token, secret = store.tokens.create(
            None, "operator", scopes=(), lifetime_s=COMMAND_TOKEN_LIFETIME_S, actor=None
        )
        try:
            with httpx.Client(
                base_url=running.url,
                headers={"authorization": f"Bearer {secret}"},
                timeout=_TIMEOUT_S,
                verify=_trust(running),
                trust_env=False,
            ) as client:
                yield client, secret
        finally:
            store.tokens.delete(token)


def _trust(read_server_info: ServerInfo) -> ssl.SSLContext | bool:
    if read_server_info.tls_cert is None or not Path(read_server_info.tls_cert).is_file():
        return True
    # The certificate itself is what we trust; the name on it need not be this machine's address.
    context = ssl.create_default_context(cafile=read_server_info.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
