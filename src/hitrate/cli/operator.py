"""Talking to the running server as its operator: whoever may read the data folder.

A token that lives a minute is put into the database and removed afterwards; no secret is kept.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from hitrate.accounts.token_store import OPERATOR_LIFETIME_S
from hitrate.cli.common import accounts
from hitrate.config import Settings
from hitrate.data_folder import Holder
from hitrate.errors import HitrateError

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
def operator_client(settings: Settings, holder: Holder) -> Iterator[OperatorClient]:
    """A client of the server that holds the data folder."""
    with accounts(settings) as store:
        token, secret = store.tokens.create(
            None, "operator", scopes=(), lifetime_s=OPERATOR_LIFETIME_S, actor=None
        )
        try:
            with httpx.Client(
                base_url=holder.url,
                headers={"authorization": f"Bearer {secret}"},
                timeout=_TIMEOUT_S,
                verify=_trust(holder),
                trust_env=False,
            ) as client:
                yield OperatorClient(client)
        finally:
            store.tokens.forget(token)


def _trust(holder: Holder) -> ssl.SSLContext | bool:
    if holder.tls_cert is None or not Path(holder.tls_cert).is_file():
        return True
    # The certificate itself is what we trust; the name on it need not be this machine's address.
    context = ssl.create_default_context(cafile=holder.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
