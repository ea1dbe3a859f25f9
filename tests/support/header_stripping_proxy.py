"""Owns a proxy that does to a server's answers what some on the way to a real one do: it drops a
header that it does not know, `x-artifact-duration`. turbo then says of a remote hit that it saved
0 ms.
"""

from __future__ import annotations

import io
import socket
from typing import Any

from tests.support.recording_proxy import UPSTREAM_TIMEOUT_S, RecordingProxy

FORGOTTEN = b"x-artifact-duration:"


class ForgetfulProxy(RecordingProxy):
    """Passes on all but that one header of answers."""

    def connect(self) -> socket.socket:
        upstream = _Forgetful(fileno=super().connect().detach())
        upstream.settimeout(UPSTREAM_TIMEOUT_S)
        return upstream


class _Forgetful(socket.socket):
    def makefile(self, *_args: Any, **_options: Any) -> Any:
        return _Lines(super().makefile("rb", buffering=0))


class _Lines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        return self.readline(size) if line.lower().startswith(FORGOTTEN) else line
