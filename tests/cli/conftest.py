"""A desk: commands on a data folder of their own."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from hitrate.accounts import passwords
from tests.cli.desk import Desk
from tests.support.database import put_empty_database


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
