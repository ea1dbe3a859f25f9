"""A real OpenID Connect provider in a process of its own; the program is oidc_provider.mjs.

It has one confidential client, supports the code flow with PKCE, and accepts any login. Each start
creates a new signing key and loses all sessions.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Page

from tests.support.node_packages import NodePackages
from tests.support.server import START_TIMEOUT_S, STOP_TIMEOUT_S, eventually, free_port

PROGRAM = Path(__file__).with_name("oidc_provider.mjs")


class ProviderProcess:
    """A provider on a fixed port, which can be stopped and started again."""

    def __init__(
        self,
        packages: NodePackages,
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
        """The issuer URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def start(self) -> None:
        """Start, and wait until the discovery document is served."""
        options = {
            "packagesDir": str(self.packages.directory),
            "port": self.port,
            "clientId": self.client_id,
            "clientSecret": self.client_secret,
            "redirectUris": self.redirect_uris,
        }
        command = [str(self.packages.node), str(PROGRAM), json.dumps(options)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        eventually(self._is_ready, START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop; all sessions of the provider are lost."""
        if self.process is None:
            return
        process, self.process = self.process, None
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(STOP_TIMEOUT_S)

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document."""
        if (
            self._http is None
        ):  # created once: creating a client reads all CA certificates, which is slow
            no_keepalive = httpx.Limits(max_keepalive_connections=0)
            self._http = httpx.Client(base_url=self.url, timeout=5, limits=no_keepalive)
        response = self._http.get("/.well-known/openid-configuration")
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the provider exited: {self.log}"
        try:
            return bool(self.discovery()["issuer"] == self.url)
        except httpx.TransportError:
            return False


def log_in(page: Page, login: str) -> None:
    """Log in on the provider's page once it is open, and wait until the browser leaves it."""
    field = page.get_by_label("Login")
    field.fill(login)
    _leave(page, "Sign in")


def log_in_without_browser(start_url: str, login: str, callback_path: str) -> str:
    """Log in over HTTP, starting at `start_url`, and return the callback URL.

    The callback URL is the redirect whose path ends with `callback_path`. It is not requested, so
    that a test can change it first.
    """
    with httpx.Client(timeout=10, verify=False) as http:
        login_page = http.get(start_url, follow_redirects=True)
        response = http.post(login_page.url, data={"login": login, "answer": "sign in"})
        while True:
            location = response.headers["location"]
            if urlsplit(location).path.endswith(callback_path):
                return str(location)
            response = http.get(location)


def cancel(page: Page) -> None:
    """Cancel on the provider's page once it is open, and wait until the browser leaves it."""
    _leave(page, "Cancel")


def _leave(page: Page, button: str) -> None:
    element = page.get_by_role("button", name=button, exact=True)
    element.wait_for()
    host = urlsplit(page.url).netloc
    element.click()
    page.wait_for_url(lambda url: urlsplit(url).netloc != host)
