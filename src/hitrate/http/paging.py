"""The query parameters of a list that comes in pages."""

from typing import Annotated

from litestar.params import QueryParameter

Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=1000, description="Entries a page.")]

Cursor = Annotated[
    str | None,
    QueryParameter(
        name="cursor", pattern=r"^\d{1,18}$", description="nextCursor of the page before."
    ),
]
