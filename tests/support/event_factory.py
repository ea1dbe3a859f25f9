"""Factories of valid events, request bodies and spool lines."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from hitrate.events import wire


def event(**changes: Any) -> dict[str, Any]:
    """Create one item of the body of recordEvents."""
    defaults = {
        "sessionId": str(uuid4()),
        "source": "LOCAL",
        "event": "HIT",
        "hash": "8a7fe9a770eafec7",
    }
    return {**defaults, "duration": 400, **changes}


def body(*events: dict[str, Any]) -> bytes:
    """Encode the body of a request."""
    return json.dumps(events).encode()


def line(
    events: Sequence[dict[str, Any]] | None = None,
    *,
    received_at: int = 1_800_000_000_000,
    team: str = "team_a",
    token: str = "tok_a",
) -> bytes:
    """Encode one line of a segment. Its digest depends on the events alone."""
    raw = body(*([event()] if events is None else events))
    return wire.encode_batch(
        wire.Batch(
            team=team,
            token=token,
            received_at=received_at,
            ci=None,
            interactive=None,
            agent=None,
            digest=wire.digest(raw),
            events=wire.decode_events(raw),
        )
    )
