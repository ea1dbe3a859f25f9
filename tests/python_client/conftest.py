"""Owns the fixtures that put clients before the strict fake, or before a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.client_adapter import KINDS, Facade, Kind
from tests.support.server import Server
from tests.support.strict_fake import StrictFake

Cache = StrictFake | Server
Connect = Callable[..., Facade]


@pytest.fixture
def fake() -> Iterator[StrictFake]:
    """A fake that in the end must have found nothing wrong."""
    with StrictFake() as fake:
        yield fake
    assert fake.violations == []


@pytest.fixture(params=["fake", "shared_server"])
def cache(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes clients of one kind, with the settings given and no others; closes them."""
    for name in ("TURBO_API", "TURBO_TOKEN", "TURBO_TEAM", "TURBO_TEAMID"):
        monkeypatch.delenv(name, raising=False)
    kind: Kind = request.param
    with ExitStack() as clients:
        yield lambda **settings: clients.enter_context(Facade(kind, **settings))


@pytest.fixture
def client(connect: Connect, cache: Cache) -> Facade:
    return connect(bearer_token=cache.token, server_url=cache.url)


@pytest.fixture
def judged(connect: Connect, fake: StrictFake) -> Facade:
    """A client before the fake, where what it sends is looked at, or the answer is scripted."""
    return connect(bearer_token=fake.token, server_url=fake.url)


@pytest.fixture
def unique() -> str:
    """A name that nothing else on the shared server has."""
    return str(uuid.uuid4())
