"""Fixtures of the event store's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ingest_harness import IngestHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[IngestHarness]:
    harness = IngestHarness(tmp_path)
    yield harness
    harness.store.close()
