"""The four kinds of events, as they are told."""

from typing import Literal

Pair = tuple[Literal["LOCAL", "REMOTE"], Literal["HIT", "MISS"]]

LOCAL_HIT: Pair = ("LOCAL", "HIT")
LOCAL_MISS: Pair = ("LOCAL", "MISS")
REMOTE_HIT: Pair = ("REMOTE", "HIT")
REMOTE_MISS: Pair = ("REMOTE", "MISS")
