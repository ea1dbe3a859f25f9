"""create_litestar_app: handlers must declare a permission, and stay independent of the app."""

import pytest
from litestar import get
from litestar.di import NamedDependency
from litestar.routes import HTTPRoute

from hitrate.auth.models import Permission
from hitrate.http.litestar import MissingPermission, create_litestar_app, provide


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


def test_dependencies_are_resolved_without_tasks() -> None:
    @get("/public", permission=Permission.PUBLIC)
    async def public(one: NamedDependency[int], two: NamedDependency[int]) -> int:
        return one + two

    app = create_litestar_app([public], dependencies=provide(one=1, two=2))
    [route] = [r for r in app.routes if isinstance(r, HTTPRoute)]
    _, parameters = route.route_handler_map["GET"]
    assert [len(batch) for batch in parameters.dependency_batches] == [1, 1]
