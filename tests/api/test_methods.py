"""What an address takes is told to whoever asks for it, or for something else."""

from collections import defaultdict

import httpx

from tests.support.all_routes import all_routes
from tests.support.server import Server

METHODS: dict[str, set[str]] = defaultdict(set)
for _route in all_routes():
    METHODS[_route.path].add(_route.method)

OURS = [path for path in METHODS if not path.startswith("/v8/")]
SEVERAL = [path for path in OURS if len(METHODS[path]) > 1]
PLACED = [path for path in OURS if "{" in path]


def asked(server: Server, method: str, path: str) -> tuple[int, set[str]]:
    """The status, and what the answer's Allow names."""
    answer = httpx.request(method, server.url + path.replace("{", "").replace("}", ""))
    return answer.status_code, set(answer.headers.get("allow", "").split(", ")) - {"OPTIONS"}


def test_options_names_the_method_that_an_address_takes(shared_server: Server) -> None:
    for path in set(OURS) - set(SEVERAL):
        assert asked(shared_server, "OPTIONS", path) == (204, METHODS[path])


def test_options_names_all_methods_that_an_address_takes(shared_server: Server) -> None:
    for path in SEVERAL:
        assert asked(shared_server, "OPTIONS", path) == (204, METHODS[path])


def test_another_method_is_refused_with_those_that_there_are(shared_server: Server) -> None:
    for path in set(OURS) - set(PLACED):
        assert asked(shared_server, "PUT", path) == (405, METHODS[path])


def test_so_it_is_where_a_path_has_parameters(shared_server: Server) -> None:
    for path in PLACED:
        assert asked(shared_server, "PUT", path) == (405, METHODS[path])
