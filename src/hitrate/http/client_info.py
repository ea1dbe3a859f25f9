"""Request headers in which a client describes itself, accepted on every artifact operation."""

from typing import NamedTuple

from hitrate.errors import BadRequest
from hitrate.http.asgi import Request

MAX_CI_CHARS = 50
MAX_AGENT_CHARS = 256
_INTERACTIVE_VALUES = {b"0": False, b"1": True}


class ClientInfo(NamedTuple):
    """How a client describes itself; None for a header that it did not send.

    `ci` is the name of the CI system, `interactive` whether the terminal is interactive, `agent`
    the name of the coding agent.
    """

    ci: str | None
    interactive: bool | None
    agent: str | None

    @classmethod
    def from_headers(cls, request: Request) -> "ClientInfo":
        """Parse the headers. Raises BadRequest for a value that the contract does not allow."""
        headers = request.headers
        return cls(
            _parse_ci(headers.get(b"x-artifact-client-ci")),
            _parse_interactive(headers.get(b"x-artifact-client-interactive")),
            _parse_agent(headers.get(b"x-ai-agent")),
        )


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _parse_ci(value: bytes | None) -> str | None:
    if value is None:
        return None
    ci = _decode(value)
    if len(ci) > MAX_CI_CHARS:
        raise BadRequest(
            f"The header x-artifact-client-ci has {len(ci)} characters; "
            f"send at most {MAX_CI_CHARS}."
        )
    return ci


def _parse_interactive(value: bytes | None) -> bool | None:
    if value is None:
        return None
    if value not in _INTERACTIVE_VALUES:
        raise BadRequest("The header x-artifact-client-interactive must be 0 or 1.")
    return _INTERACTIVE_VALUES[value]


def _parse_agent(value: bytes | None) -> str | None:
    # The published contract does not define this header, so a long value is cut, not rejected.
    return None if value is None else _decode(value)[:MAX_AGENT_CHARS]
