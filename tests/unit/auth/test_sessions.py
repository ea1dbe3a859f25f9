"""Sessions and what waits: kept as hashes, over in time, and taken once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from hitrate.auth.accounts import AccountStore
from hitrate.auth.sessions import SESSION_TTL_S, OneTimeStore, Sessions
from hitrate.clock import ManualClock
from hitrate.db.engine import open_database
from hitrate.db.tables import PENDING_AUTH, SESSIONS
from hitrate.errors import Unauthorized
from hitrate.teams.models import User


class Note(msgspec.Struct):
    """Something that waits."""

    text: str


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def accounts(engine: Engine, clock: ManualClock) -> AccountStore:
    return AccountStore(engine, clock)


@pytest.fixture
def ann(accounts: AccountStore) -> User:
    return accounts.users.create("ann@example.com", password="correct horse")


@pytest.fixture
def sessions(engine: Engine, clock: ManualClock) -> Sessions:
    return Sessions(engine, clock)


@pytest.fixture
def one_time_store(engine: Engine, clock: ManualClock) -> OneTimeStore:
    return OneTimeStore(engine, clock)


def rows(engine: Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_session_lasts_twelve_hours(sessions: Sessions, ann: User, clock: ManualClock) -> None:
    session = sessions.create(ann)
    clock.advance(SESSION_TTL_S - 1)
    found = sessions.find(session.secret)
    assert found is not None
    assert found.user == ann
    clock.advance(1)
    assert sessions.find(session.secret) is None


def test_what_is_over_goes_when_the_next_begins(
    sessions: Sessions, ann: User, clock: ManualClock, engine: Engine
) -> None:
    sessions.create(ann)
    clock.advance(SESSION_TTL_S)
    sessions.create(ann)
    assert rows(engine, SESSIONS) == 1


def test_no_secret_is_kept(
    sessions: Sessions, one_time_store: OneTimeStore, ann: User, engine: Engine, tmp_path: Path
) -> None:
    secrets = [sessions.create(ann).secret, one_time_store.put("kind", Note("a"), 60)]
    engine.dispose()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(secret.encode() in kept for secret in secrets)


def test_nothing_and_nonsense_are_no_session(sessions: Sessions) -> None:
    assert sessions.find(None) is None
    assert sessions.find("") is None
    assert sessions.find("\x00" * 5000) is None
    sessions.delete(None)
    sessions.delete("nonsense")


def test_disabling_and_a_new_password_end_every_session(
    sessions: Sessions, accounts: AccountStore, ann: User
) -> None:
    one, other = sessions.create(ann), sessions.create(ann)
    accounts.users.set_password(ann, "another password")
    assert sessions.find(one.secret) is sessions.find(other.secret) is None
    one = sessions.create(ann)
    accounts.users.disable(ann)
    assert sessions.find(one.secret) is None
    with pytest.raises(Unauthorized):
        sessions.create(ann)
    assert sessions.find_user(ann.id) is None
    accounts.users.disable(ann, disabled=False)
    assert sessions.find(one.secret) is None
    assert sessions.find_user(ann.id) == ann


def test_what_waits_is_taken_once(one_time_store: OneTimeStore) -> None:
    secret = one_time_store.put("kind", Note("a"), 60)
    assert one_time_store.pop("another kind", secret, Note) is None
    assert one_time_store.pop("kind", secret, Note) == Note("a")
    assert one_time_store.pop("kind", secret, Note) is None


def test_of_many_who_take_at_once_one_gets_it(one_time_store: OneTimeStore) -> None:
    for _ in range(5):
        secret = one_time_store.put("kind", Note("a"), 60)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda s: one_time_store.pop("kind", s, Note), [secret] * 8))
        assert sorted(t is not None for t in taken) == [False] * 7 + [True]


def test_what_waited_too_long_is_gone(
    one_time_store: OneTimeStore, clock: ManualClock, engine: Engine
) -> None:
    secret = one_time_store.put("kind", Note("a"), 60)
    one_time_store.put("kind", Note("b"), 60)
    clock.advance(60)
    assert one_time_store.pop("kind", secret, Note) is None
    one_time_store.put("kind", Note("c"), 60)
    assert rows(engine, PENDING_AUTH) == 1
