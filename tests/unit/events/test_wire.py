"""Parsing events: what the contract's schema allows is accepted, nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.errors import BadRequest
from hitrate.events import wire
from tests.support.event_factory import body, event, line


def refused(raw: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        wire.decode_events(raw)
    return str(caught.value)


def test_an_empty_array_is_valid() -> None:
    assert wire.decode_events(b"[]") == []


def test_duration_may_be_left_out() -> None:
    item = event()
    del item["duration"]
    assert wire.decode_events(body(item))[0].duration is msgspec.UNSET


@pytest.mark.parametrize("duration", [0, 400, -5, 0.25, 1e300, 1e30])
def test_any_number_is_a_duration(duration: float) -> None:
    assert wire.decode_events(body(event(duration=duration)))[0].duration == duration


@pytest.mark.parametrize("name", ["sessionId", "source", "event", "hash"])
def test_a_missing_property_is_named(name: str) -> None:
    item = event()
    del item[name]
    message = refused(body(event(), item))
    assert name in message
    assert "$[1]" in message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"source": "CLOUD"}, "$[0].source"),
        ({"source": "local"}, "$[0].source"),
        ({"event": "PUT"}, "$[0].event"),
        ({"sessionId": 7}, "$[0].sessionId"),
        ({"hash": None}, "$[0].hash"),
        ({"duration": "400"}, "$[0].duration"),
        ({"duration": True}, "$[0].duration"),
        ({"duration": None}, "$[0].duration"),
        ({"hash": "x" * 1025}, "$[0].hash"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(change: dict[str, Any], where: str) -> None:
    assert where in refused(body(event(**change)))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"null", b"[1]", b"[[]]", b"[", b"\xff", b'[{"sessionId":"\\ud800"}]',
        b"\xef\xbb\xbf[]", b"[" * 100_000, b'{"events": []}', b"[] []",
    ],
)  # fmt: skip
def test_what_is_no_array_of_events_is_refused(raw: bytes) -> None:
    assert "JSON array" in refused(raw)


def test_a_number_beyond_a_double_is_refused() -> None:
    raw = body(event(duration=1)).replace(b": 1}", b": 1e999}")
    assert "out of range" in refused(raw)


def test_a_repeated_key_does_not_reach_the_spool() -> None:
    raw = body(event(hash="a")).replace(b'"hash"', b'"hash": "b", "hash"')
    events = wire.decode_events(raw)
    written = wire.encode_batch(wire.Batch("t", "k", 0, None, None, None, "d", events))
    assert written.count(b'"hash"') == 1


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "sessionId": st.text(max_size=50),
                "source": st.sampled_from(["LOCAL", "REMOTE"]),
                "event": st.sampled_from(["HIT", "MISS"]),
                "hash": st.text(max_size=50),
            },
            optional={"duration": st.floats(allow_nan=False, allow_infinity=False)},
        )
    )
)
def test_every_valid_event_stands_in_the_spool_as_it_came(items: list[dict[str, Any]]) -> None:
    written = line(items)
    assert written.count(b"\n") == 1
    assert json.loads(written)["events"] == items
