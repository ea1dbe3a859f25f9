"""A desk: commands on a data folder of their own."""

from pathlib import Path

import pytest

from tests.cli.desk import Desk


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """On an empty folder."""
    (tmp_path / "data").mkdir(mode=0o700)
    return Desk(tmp_path / "data", capsys, monkeypatch)
