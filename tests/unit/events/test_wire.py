"""Wire formats: bodies that the contract's schema allows are accepted, all others rejected."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitrate.errors import BadRequest
from hitrate.events import wire
from tests.support.event_factory import body, event, line


def decode_error(raw: bytes) -> str:
    with pytest.raises(BadRequest) as raised:
        wire.decode_events(raw)
    return str(raised.value)


def test_empty_array_is_valid() -> None:
    assert wire.decode_events(b"[]") == []


def test_duration_is_optional() -> None:
    item = event()
    del item["duration"]
    assert wire.decode_events(body(item))[0].duration is msgspec.UNSET


@pytest.mark.parametrize("duration", [0, 400, -5, 0.25, 1e300, 1e30])
def test_any_number_is_a_valid_duration(duration: float) -> None:
    assert wire.decode_events(body(event(duration=duration)))[0].duration == duration


@pytest.mark.parametrize("name", ["sessionId", "source", "event", "hash"])
def test_error_names_a_missing_property(name: str) -> None:
    item = event()
    del item[name]
    message = decode_error(body(event(), item))
    assert name in message
    assert "$[1]" in message


@pytest.mark.parametrize(
    ("change", "location"),
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
def test_error_locates_an_invalid_value(change: dict[str, Any], location: str) -> None:
    assert location in decode_error(body(event(**change)))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"null", b"[1]", b"[[]]", b"[", b"\xff", b'[{"sessionId":"\\ud800"}]',
        b"\xef\xbb\xbf[]", b"[" * 100_000, b'{"events": []}', b"[] []",
    ],
)  # fmt: skip
def test_body_that_is_not_an_array_of_events_is_rejected(raw: bytes) -> None:
    assert "JSON array" in decode_error(raw)


def test_number_beyond_a_double_is_rejected() -> None:
    raw = body(event(duration=1)).replace(b": 1}", b": 1e999}")
    assert "out of range" in decode_error(raw)


def test_repeated_key_is_not_written_to_the_spool() -> None:
    raw = body(event(hash="a")).replace(b'"hash"', b'"hash": "b", "hash"')
    events = wire.decode_events(raw)
    spool_line = wire.encode_batch(wire.Batch("t", "k", 0, None, None, None, "d", events))
    assert spool_line.count(b'"hash"') == 1


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
def test_valid_events_are_written_to_the_spool_unchanged(items: list[dict[str, Any]]) -> None:
    spool_line = line(items)
    assert spool_line.count(b"\n") == 1
    assert json.loads(spool_line)["events"] == items
