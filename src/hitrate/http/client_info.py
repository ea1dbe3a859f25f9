"""What a client says of itself in headers, on every artifact operation."""

from typing import NamedTuple

from hitrate.errors import BadRequest
from hitrate.http.asgi import Request

_CI_MOST = 50
_AGENT_MOST = 256
_INTERACTIVE = {b"0": False, b"1": True}


class Client(NamedTuple):
    """`ci`: name of the CI; `interactive`: a person's shell; `agent`: name of a coding agent."""

    ci: str | None
    interactive: bool | None
    agent: str | None


def client_of(request: Request) -> Client:
    """The client's own words. Raises BadRequest for a value that the contract does not allow."""
    headers = request.headers
    return Client(
        _ci(headers.get(b"x-artifact-client-ci")),
        _interactive(headers.get(b"x-artifact-client-interactive")),
        _agent(headers.get(b"x-ai-agent")),
    )


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _ci(value: bytes | None) -> str | None:
    if value is None:
        return None
    ci = _text(value)
    if len(ci) > _CI_MOST:
        raise BadRequest(
            f"The header x-artifact-client-ci has {len(ci)} characters; send at most {_CI_MOST}."
        )
    return ci


def _interactive(value: bytes | None) -> bool | None:
    if value is None:
        return None
    if value not in _INTERACTIVE:
        raise BadRequest("The header x-artifact-client-interactive must be 0 or 1.")
    return _INTERACTIVE[value]


def _agent(value: bytes | None) -> str | None:
    # Not in the published contract, so it is cut rather than refused.
    return None if value is None else _text(value)[:_AGENT_MOST]
