"""Hypothesis strategies for batches, including unusual and invalid values that clients may send."""

import itertools
from typing import Any

import msgspec
from hypothesis import strategies as st

from hitrate.events import wire
from tests.support.analytics_fixture import OTHER_TEAM_ID, TEAM_ID, TOKEN_IDS

SESSIONS = ("s", "a/s", "", "/", "s\0t", "ünï 😀")
REGULAR = ("0123456789abcdef", "ffffffffffffffff", "0000000000000000", "8000000000000000")
HASHES = (
    *REGULAR, "", "0x12", "0x0123456789abcd", "0123456789ABCDEF", "01234567_9abcdef", "a\0b",
    "0123456789abcde\n", "\u0661123456789abcdef", "é😀", "f" * 64, "12HKQaOmR5t5Uy6vdcQsNIiZgHGB",
)  # fmt: skip
DURATIONS = (
    msgspec.UNSET, 0.0, -0.0, 0.25, 0.5, 1.5, 0.49999999999999994, 400.0, 59_999.5, 86_399_999.5,
    86_400_000.0, 86_400_000.25, 86_400_001.0, 2.0**53, 1e300, -0.25, -1.0, -1e300,
)  # fmt: skip
ARTIFACT_DURATIONS = {
    (TEAM_ID, "0123456789abcdef"): 700.5,
    (TEAM_ID, "ffffffffffffffff"): 0.0,
    (TEAM_ID, "f" * 64): -3.0,
    (TEAM_ID, "12HKQaOmR5t5Uy6vdcQsNIiZgHGB"): 1e12,
    (OTHER_TEAM_ID, "0123456789abcdef"): 33.0,
    (OTHER_TEAM_ID, "é😀"): 5.0,
}
"""Durations of stored artifacts; not every hash has one in every team."""

GAPS_MS = (1, 7, 60_000, 299_999, 300_001, 599_999, 600_000, 600_001, 3_600_000, 86_400_000)
STARTS_MS = (
    1_774_744_200_000,  # 2026-03-29: clocks go forward in Berlin
    1_775_314_800_000,  # 2026-04-04: clocks go back by half an hour on Lord Howe Island
    1_793_505_600_000,  # 2026-11-01: clocks go back in New York
    1_800_000_000_000,
)

_EVENT = st.builds(
    wire.CacheEvent,
    session_id=st.sampled_from(SESSIONS),
    source=st.sampled_from(("LOCAL", "REMOTE")),
    event=st.sampled_from(("HIT", "MISS")),
    hash=st.sampled_from(HASHES),
    duration=st.sampled_from(DURATIONS),
)
_SENDER = st.fixed_dictionaries(
    {
        "team": st.sampled_from((TEAM_ID, OTHER_TEAM_ID)),
        "token": st.sampled_from(TOKEN_IDS),
        "ci": st.sampled_from((None, "GITHUB_ACTIONS", "")),
        "interactive": st.sampled_from((None, True, False)),
        "agent": st.sampled_from((None, "claude-code")),
    }
)


@st.composite
def batches(draw: st.DrawFn) -> list[wire.Batch]:
    """Batches in order of arrival, each at a different time. Some are re-sent."""
    at_ms = draw(st.sampled_from(STARTS_MS))
    sent: list[wire.Batch] = []
    for _ in range(draw(st.integers(1, 12))):
        at_ms += draw(st.sampled_from(GAPS_MS))
        if sent and draw(st.integers(0, 2)) == 0:
            sent.append(_resend(draw, draw(st.sampled_from(sent)), at_ms))
        else:
            events = draw(st.lists(_EVENT, max_size=8))
            sent.append(_batch(draw(_SENDER), at_ms, events))
    return sent


def _batch(sender: dict[str, Any], at_ms: int, events: list[wire.CacheEvent]) -> wire.Batch:
    digest = wire.digest(msgspec.json.encode(events))
    return wire.Batch(**sender, received_at=at_ms, digest=digest, events=events)


def _resend(draw: st.DrawFn, batch: wire.Batch, at_ms: int) -> wire.Batch:
    """Send the same events again.

    Mostly from the same client; else from a client that reports other properties, or from another
    token.
    """
    fixed_fields = draw(
        st.sampled_from((_ALL_FIELDS, _ALL_FIELDS, _ALL_FIELDS, ("team", "token"), ()))
    )
    fixed_values = {name: getattr(batch, name) for name in fixed_fields}
    return _batch({**draw(_SENDER), **fixed_values}, at_ms, batch.events)


_ALL_FIELDS = ("team", "token", "ci", "interactive", "agent")


@st.composite
def splits(draw: st.DrawFn, all_batches: list[wire.Batch]) -> list[list[wire.Batch]]:
    """Split the batches into segments, in order."""
    ends = draw(st.sets(st.integers(1, max(1, len(all_batches) - 1)), max_size=4))
    cuts = [0, *sorted(end for end in ends if end < len(all_batches)), len(all_batches)]
    return [all_batches[start:end] for start, end in itertools.pairwise(cuts)]
