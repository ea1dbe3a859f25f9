"""Events and batches for tests."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from hitrate.events import wire


def event(**changes: Any) -> dict[str, Any]:
    """One valid item of the body of recordEvents."""
    base = {
        "sessionId": str(uuid4()),
        "source": "LOCAL",
        "event": "HIT",
        "hash": "8a7fe9a770eafec7",
    }
    return {**base, "duration": 400, **changes}


def body(*events: dict[str, Any]) -> bytes:
    """A request's body."""
    return json.dumps(events).encode()


def line(
    events: Sequence[dict[str, Any]] | None = None,
    *,
    received_at: int = 1_800_000_000_000,
    team: str = "team_a",
    token: str = "tok_a",
) -> bytes:
    """One line of a segment, with a digest of its own unless the events are the same."""
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
