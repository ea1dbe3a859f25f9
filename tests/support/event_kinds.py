"""The four kinds of events: source and event, as clients send them."""

from typing import Literal

EventKind = tuple[Literal["LOCAL", "REMOTE"], Literal["HIT", "MISS"]]

LOCAL_HIT: EventKind = ("LOCAL", "HIT")
LOCAL_MISS: EventKind = ("LOCAL", "MISS")
REMOTE_HIT: EventKind = ("REMOTE", "HIT")
REMOTE_MISS: EventKind = ("REMOTE", "MISS")
