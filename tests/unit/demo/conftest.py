"""Fixture of demo tests: a data directory with a demo team."""

import pytest

from tests.support.demo_data import DemoDir, create_demo_dir


@pytest.fixture(scope="module")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> DemoDir:
    """A data directory with a demo team."""
    return create_demo_dir(tmp_path_factory.mktemp("demo") / "data")
