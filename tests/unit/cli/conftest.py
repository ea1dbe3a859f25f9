"""A desk: commands on a data folder of their own. A workshop: commands that ask a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from hitrate.teams import passwords
from tests.support.database import put_empty_database
from tests.support.offline_cli import Desk
from tests.support.remote_cli import Fake, Workshop, fake_server
from tests.support.server import Server


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """On an empty folder; hashes of passwords are cheap."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", hasher)
    (tmp_path / "data").mkdir(mode=0o700)
    put_empty_database(tmp_path / "data")
    return Desk(tmp_path / "data", capsys, monkeypatch)


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """A team of the module's own."""
    return Workshop(shared_server)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A server that answers what it is told to."""
    with fake_server() as fake:
        yield fake
