"""Recording proxy that removes `x-artifact-duration` from responses.

Some proxies drop headers that they do not know. Without this one, turbo reports that a remote hit
saved 0 ms.
"""

from __future__ import annotations

import io
import socket
from typing import Any

from tests.support.recording_proxy import UPSTREAM_TIMEOUT_S, RecordingProxy

STRIPPED_HEADER = b"x-artifact-duration:"


class HeaderStrippingProxy(RecordingProxy):
    """Forwards everything except that one response header."""

    def connect(self) -> socket.socket:
        upstream = _StrippingSocket(fileno=super().connect().detach())
        upstream.settimeout(UPSTREAM_TIMEOUT_S)
        return upstream


class _StrippingSocket(socket.socket):
    def makefile(self, *_args: Any, **_options: Any) -> Any:
        return _StrippingReader(super().makefile("rb", buffering=0))


class _StrippingReader(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        return self.readline(size) if line.lower().startswith(STRIPPED_HEADER) else line
