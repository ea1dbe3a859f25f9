"""Cursor pagination: query parameters and the next cursor."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from litestar.params import QueryParameter

Row = TypeVar("Row")

Limit = Annotated[
    int, QueryParameter(name="limit", ge=1, le=1000, description="Maximum number of entries.")
]

Cursor = Annotated[
    str | None,
    QueryParameter(
        name="cursor", pattern=r"^\d{1,18}$", description="nextCursor of the previous page."
    ),
]


def take_page(
    rows: Sequence[Row], limit: int, cursor: Callable[[Row], int]
) -> tuple[list[Row], str | None]:
    """Return the first `limit` of up to `limit + 1` rows, and the cursor of the next page.

    `cursor` computes it from the last row of the page: an id, or the offset of the next row. It
    is None on the last page.
    """
    page = list(rows[:limit])
    return page, str(cursor(page[-1])) if len(rows) > limit else None
