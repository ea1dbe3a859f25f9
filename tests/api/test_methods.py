"""Allowed methods in responses to OPTIONS and to methods that a path does not have."""

from collections import defaultdict

import httpx

from tests.support.all_routes import all_routes
from tests.support.server import Server

METHODS: dict[str, set[str]] = defaultdict(set)
for _route in all_routes():
    METHODS[_route.path].add(_route.method)

LITESTAR_PATHS = [path for path in METHODS if not path.startswith("/v8/")]
PATHS_WITH_SEVERAL_METHODS = [path for path in LITESTAR_PATHS if len(METHODS[path]) > 1]
PARAMETERIZED_PATHS = [path for path in LITESTAR_PATHS if "{" in path]


def request(server: Server, method: str, path: str) -> tuple[int, set[str]]:
    """Return the status and the methods of the Allow header, without OPTIONS."""
    response = httpx.request(method, server.url + path.replace("{", "").replace("}", ""))
    return response.status_code, set(response.headers.get("allow", "").split(", ")) - {"OPTIONS"}


def test_options_lists_the_only_method_of_a_path(shared_server: Server) -> None:
    for path in set(LITESTAR_PATHS) - set(PATHS_WITH_SEVERAL_METHODS):
        assert request(shared_server, "OPTIONS", path) == (204, METHODS[path])


def test_options_lists_all_methods_of_a_path(shared_server: Server) -> None:
    for path in PATHS_WITH_SEVERAL_METHODS:
        assert request(shared_server, "OPTIONS", path) == (204, METHODS[path])


def test_405_lists_allowed_methods(shared_server: Server) -> None:
    for path in set(LITESTAR_PATHS) - set(PARAMETERIZED_PATHS):
        assert request(shared_server, "PUT", path) == (405, METHODS[path])


def test_405_lists_allowed_methods_on_parameterized_paths(shared_server: Server) -> None:
    for path in PARAMETERIZED_PATHS:
        assert request(shared_server, "PUT", path) == (405, METHODS[path])
