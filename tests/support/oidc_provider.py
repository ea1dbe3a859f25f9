"""Owns a real OpenID Connect provider as a process of its own; provider.mjs is its other half.

Promises one confidential client, the code flow with PKCE, and an account for any login. Its signing
key is new at each start, and what it knew before is forgotten.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Page

from tests.support.node_packages import Clients
from tests.support.server import START_S, STOP_S, eventually, free_port

DRIVER = Path(__file__).with_name("oidc_provider.mjs")


class Provider:
    """One provider on one port; stopped and started again as a test likes."""

    def __init__(
        self,
        packages: Clients,
        log_path: Path,
        *redirect_uris: str,
        client_id: str = "hitrate",
        client_secret: str = "a secret & its 100% special + signs",
    ) -> None:
        self.packages = packages
        self.log_path = log_path
        self.redirect_uris = redirect_uris
        self.client_id = client_id
        self.client_secret = client_secret
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._http: httpx.Client | None = None

    @property
    def url(self) -> str:
        """The issuer."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def start(self) -> None:
        """Start, and return when it answers its discovery document."""
        told = {
            "folder": str(self.packages.folder),
            "port": self.port,
            "clientId": self.client_id,
            "clientSecret": self.client_secret,
            "redirectUris": self.redirect_uris,
        }
        command = [str(self.packages.node), str(DRIVER), json.dumps(told)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        eventually(self._answers, START_S)

    def stop(self) -> None:
        """End it; the next start is a provider that knows nobody."""
        if self.process is None:
            return
        process, self.process = self.process, None
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(STOP_S)

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        if self._http is None:  # made once: each would read all the certificates there are
            none_kept = httpx.Limits(max_keepalive_connections=0)
            self._http = httpx.Client(base_url=self.url, timeout=5, limits=none_kept)
        response = self._http.get("/.well-known/openid-configuration")
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the provider ended: {self.log}"
        try:
            return bool(self.discovery()["issuer"] == self.url)
        except httpx.TransportError:
            return False


def sign_in(page: Page, login: str) -> None:
    """Sign in on the provider's page, which is shown or about to be; returns when it has left."""
    field = page.get_by_label("Login")
    field.fill(login)
    _leave(page, "Sign in")


def sign_in_without_browser(start_url: str, login: str, ends_with: str) -> str:
    """Sign in where `start_url` leads; the address, whose path ends so, that one is sent back to.

    Nobody goes there: a test can, or can change it first.
    """
    with httpx.Client(timeout=10, verify=False) as http:
        shown = http.get(start_url, follow_redirects=True)
        answer = http.post(shown.url, data={"login": login, "answer": "sign in"})
        while True:
            location = answer.headers["location"]
            if urlsplit(location).path.endswith(ends_with):
                return str(location)
            answer = http.get(location)


def cancel(page: Page) -> None:
    """Say no on the provider's page, which is shown or about to be; returns when it has left."""
    _leave(page, "Cancel")


def _leave(page: Page, button: str) -> None:
    found = page.get_by_role("button", name=button, exact=True)
    found.wait_for()
    here = urlsplit(page.url).netloc
    found.click()
    page.wait_for_url(lambda url: urlsplit(url).netloc != here)
