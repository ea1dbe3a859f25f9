"""create_litestar_app: handlers must declare a permission, and stay independent of the app."""

import pytest
from litestar import get

from hitrate.auth.models import Permission
from hitrate.http.litestar import MissingPermission, create_litestar_app


def test_handler_without_permission_is_refused_at_startup() -> None:
    @get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(MissingPermission, match="forgotten of /forgotten declares no permission"):
        create_litestar_app([forgotten])


def test_handler_keeps_no_reference_to_the_app() -> None:
    @get("/public", permission=Permission.PUBLIC)
    async def public() -> None: ...

    create_litestar_app([public])
    assert public.owner is None
