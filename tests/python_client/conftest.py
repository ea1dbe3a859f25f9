"""Fixtures that connect clients to the strict fake server or to a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.client_adapter import CLIENT_CLASSES, ClientAdapter, ClientClass
from tests.support.server import Server
from tests.support.strict_fake import StrictFake

Cache = StrictFake | Server
Connect = Callable[..., ClientAdapter]


@pytest.fixture
def fake() -> Iterator[StrictFake]:
    """A strict fake server, which must not have found any violation at the end."""
    with StrictFake() as fake:
        yield fake
    assert fake.violations == []


@pytest.fixture(params=["fake", "shared_server"])
def cache(request: pytest.FixtureRequest) -> Any:
    """The strict fake server, then a real server."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=CLIENT_CLASSES, ids=lambda client_class: client_class.__name__)
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """A function that creates clients of one class, without settings of the environment."""
    for name in ("TURBO_API", "TURBO_TOKEN", "TURBO_TEAM", "TURBO_TEAMID"):
        monkeypatch.delenv(name, raising=False)
    client_class: ClientClass = request.param
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(ClientAdapter(client_class, **settings))


@pytest.fixture
def client(connect: Connect, cache: Cache) -> ClientAdapter:
    """A client of `cache`."""
    return connect(bearer_token=cache.token, server_url=cache.url)


@pytest.fixture
def fake_client(connect: Connect, fake: StrictFake) -> ClientAdapter:
    """A client of the strict fake, whose requests are checked and whose responses are scripted."""
    return connect(bearer_token=fake.token, server_url=fake.url)


@pytest.fixture
def unique() -> str:
    """A name that no other test uses on the shared server."""
    return str(uuid.uuid4())
