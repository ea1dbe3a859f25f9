"""Browser sessions and one-time values: hashed, expiring, and usable once."""

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
    """A one-time value."""

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


def count_rows(engine: Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_session_lasts_twelve_hours(sessions: Sessions, ann: User, clock: ManualClock) -> None:
    session = sessions.create(ann)
    clock.advance(SESSION_TTL_S - 1)
    stored_session = sessions.find(session.secret)
    assert stored_session is not None
    assert stored_session.user == ann
    clock.advance(1)
    assert sessions.find(session.secret) is None


def test_expired_sessions_are_deleted_when_the_next_starts(
    sessions: Sessions, ann: User, clock: ManualClock, engine: Engine
) -> None:
    sessions.create(ann)
    clock.advance(SESSION_TTL_S)
    sessions.create(ann)
    assert count_rows(engine, SESSIONS) == 1


def test_secrets_are_not_stored(
    sessions: Sessions, one_time_store: OneTimeStore, ann: User, engine: Engine, tmp_path: Path
) -> None:
    secrets = [sessions.create(ann).secret, one_time_store.put("kind", Note("a"), 60)]
    engine.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(secret.encode() in stored for secret in secrets)


def test_invalid_secrets_find_no_session(sessions: Sessions) -> None:
    assert sessions.find(None) is None
    assert sessions.find("") is None
    assert sessions.find("\x00" * 5000) is None
    sessions.delete(None)
    sessions.delete("nonsense")


def test_disabling_a_user_and_changing_the_password_end_every_session(
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


def test_one_time_value_is_returned_once_and_only_for_its_kind(
    one_time_store: OneTimeStore,
) -> None:
    secret = one_time_store.put("kind", Note("a"), 60)
    assert one_time_store.pop("another kind", secret, Note) is None
    assert one_time_store.pop("kind", secret, Note) == Note("a")
    assert one_time_store.pop("kind", secret, Note) is None


def test_one_time_value_is_returned_to_one_of_many_concurrent_callers(
    one_time_store: OneTimeStore,
) -> None:
    for _ in range(5):
        secret = one_time_store.put("kind", Note("a"), 60)
        with ThreadPoolExecutor(8) as pool:
            values = list(pool.map(lambda s: one_time_store.pop("kind", s, Note), [secret] * 8))
        assert sorted(value is not None for value in values) == [False] * 7 + [True]


def test_expired_one_time_value_is_not_returned_and_is_deleted(
    one_time_store: OneTimeStore, clock: ManualClock, engine: Engine
) -> None:
    secret = one_time_store.put("kind", Note("a"), 60)
    one_time_store.put("kind", Note("b"), 60)
    clock.advance(60)
    assert one_time_store.pop("kind", secret, Note) is None
    one_time_store.put("kind", Note("c"), 60)
    assert count_rows(engine, PENDING_AUTH) == 1
