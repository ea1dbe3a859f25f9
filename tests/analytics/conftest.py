"""Fixtures for tests of what is counted."""

from collections.abc import Iterator

import pytest

from tests.analytics.books import Books


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """A database with two teams; event stores come and go beside it."""
    books = Books(tmp_path_factory.mktemp("books"))
    yield books
    books.close()
