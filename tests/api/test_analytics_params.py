"""Parameters of reports: invalid values are rejected with the accepted ones; any name is found."""

from __future__ import annotations

import copy
from urllib.parse import quote

import httpx
import pytest

from tests.support.client_operations import error_code
from tests.support.event_factory import body, event
from tests.support.server import Server

LONG_NAME, TOO_EARLY = "x" * 10_000, "9" * 400 + "d"
TIME = ("ISO 8601", "7d")
ZONE = ("timezone", "Europe/Berlin")

# Path, parameters, and words that the error message must contain.
INVALID: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
    *(
        ("analytics/summary", {name: value}, (name, *TIME))
        for name in ("since", "until")
        for value in (
            "yesterday", "7D", "7", "-7d", "2027-13-01", "1e9d", "\0", LONG_NAME, TOO_EARLY,
        )
    ),
    ("analytics/summary", {"since": "1d", "until": "2d"}, ("since is not before until",)),
    ("analytics/summary", {"since": "1d", "until": "1d"}, ("since is not before until",)),
    ("runs", {"since": "2200-01-01", "until": "2300-01-01"}, ("since is not before until",)),
    ("artifacts", {"since": "tomorrow"}, ("since", *TIME)),
    ("artifacts/abc", {"until": "tomorrow"}, ("until", *TIME)),
    *(
        ("analytics/timeseries", {"timezone": zone}, ZONE)
        for zone in (
            "../../etc/passwd", "/etc/passwd", "Europe/../../../etc/passwd", "Mars/Olympus_Mons",
            "Europe", "Europe/", "", "\0", "+02:00", "Zürich", "tzdata.zi", LONG_NAME,
        )
    ),
    ("analytics/timeseries", {"bucket": "year"}, ("bucket", "hour, day, week or month")),
    ("analytics/timeseries", {"bucket": ""}, ("bucket", "hour, day, week or month")),
    ("analytics/timeseries", {"bucket": "hour", "since": "90d"}, ("1500", "longer bucket")),
    ("analytics/timeseries", {"bucket": "month", "since": "1970-01-01", "until": "2100-01-01"},
     ("1500", "later since")),
    ("analytics/breakdown", {}, ("by: is required; send ci, interactive, agent, token or user.",)),
    ("analytics/breakdown", {"by": "team"}, ("by", "ci, interactive, agent, token or user")),
    ("runs", {"order": "random"}, ("order", "newest, best, worst, saved or largest")),
    ("runs", {"order": LONG_NAME}, ("order", "newest, best, worst, saved or largest")),
    ("artifacts", {"order": "best"}, ("order", "newest, oldest, largest", "hits")),
    ("artifacts", {"unused": "maybe"}, ("unused", "bool")),
    ("analytics/summary", {"fresh": "maybe"}, ("fresh", "bool")),
    *(
        (path, params | {"interactive": value}, ("interactive", "true, false, any or none"))
        for path, params in (
            ("analytics/summary", {}), ("analytics/timeseries", {}),
            ("analytics/breakdown", {"by": "ci"}), ("runs", {}),
        )
        for value in ("yes", "", LONG_NAME)
    ),
    *(
        (path, params, (next(iter(params)),))
        for path in ("runs", "runs/abc", "artifacts", "artifacts/abc")
        for params in (
            {"limit": "0"}, {"limit": "1001"}, {"limit": "many"}, {"limit": "-1"}, {"limit": ""},
            {"cursor": "-1"}, {"cursor": "next"}, {"cursor": ""}, {"cursor": "9" * 19},
        )
    ),
]  # fmt: skip

VALID = [
    ("analytics/summary", {"ci": LONG_NAME, "agent": LONG_NAME, "token": LONG_NAME}),
    ("analytics/summary", {"ci": "", "agent": "", "token": ""}),
    ("analytics/summary", {"agent": "\0'\"%_\\$ci"}),
    ("analytics/timeseries", {"bucket": "week", "since": "1990-01-01", "until": "2010-01-01"}),
    ("analytics/timeseries", {"timezone": "America/Argentina/Buenos_Aires"}),
    ("analytics/timeseries", {"timezone": "Etc/GMT+12"}),
    ("analytics/timeseries", {"since": "1970-01-01", "until": "1970-01-02"}),
    ("runs", {"cursor": "9" * 18}),
    ("artifacts", {"cursor": "9" * 18, "unused": "true"}),
    ("artifacts", {"cursor": "9" * 18, "order": "hits"}),
]

UNUSUAL_NAMES = [
    "a/b", "a//b", "/a", "a/", "//", "..", ".", "./a", "../a", "a/../b", "a b", " a ", "a+b",
    "%2F", "a%2Fb", "%", "%zz", "a?b#c", "a&b=c", "ä€😀", "e\u0301", "\0", "a\nb", "\\", "~",
    "'; DROP TABLE runs; --", "$session", "{session}", "summary", "x" * 1024,
]  # fmt: skip


@pytest.fixture(scope="module")
def reports(shared_server: Server) -> Server:
    """The server with the token of a team of its own."""
    shared_server.command("team", "create", "unusual")
    reports = copy.copy(shared_server)
    reports.token = shared_server.create_token(team="unusual")
    return reports


def get(server: Server, path: str, **params: str) -> httpx.Response:
    return server.request("GET", f"/v1/{path}", params=params)


def quoted(name: str) -> str:
    """Quote a name for use in a path; clients normalize dots that are not escaped."""
    return quote(name, safe="").replace(".", "%2E")


@pytest.mark.parametrize(
    ("path", "params", "expected_texts"),
    INVALID,
    ids=[f"{path} {str(params)[:40]!a}" for path, params, _ in INVALID],
)
def test_invalid_parameter_is_rejected_with_accepted_values(
    reports: Server, path: str, params: dict[str, str], expected_texts: tuple[str, ...]
) -> None:
    response = get(reports, path, **params)
    assert (response.status_code, error_code(response)) == (400, "bad_request")
    message = response.json()["message"]
    assert [text for text in expected_texts if text not in message] == []


@pytest.mark.parametrize(
    ("path", "params"), VALID, ids=[f"{path} {str(params)[:40]!a}" for path, params in VALID]
)
def test_unusual_parameter_is_accepted(reports: Server, path: str, params: dict[str, str]) -> None:
    assert get(reports, path, **params).status_code == 200


@pytest.fixture(scope="module")
def unusual_runs(reports: Server) -> None:
    """For each unusual name, a run with that session and a hit of that hash."""
    for name in UNUSUAL_NAMES:
        post_event(reports, name)
    assert get(reports, "analytics/summary", fresh="true").json()["runs"] >= len(UNUSUAL_NAMES)


def post_event(server: Server, name: str) -> None:
    content = body(event(sessionId=name, hash=name))
    assert server.request("POST", "/v8/artifacts/events", content=content).status_code == 200


@pytest.mark.usefixtures("unusual_runs")
@pytest.mark.parametrize("name", [name for name in UNUSUAL_NAMES if name.strip("/")], ids=ascii)
def test_run_and_artifact_are_found_by_any_name(reports: Server, name: str) -> None:
    run = get(reports, f"runs/{quoted(name)}").json()
    assert run["run"]["sessionId"] == name
    assert [task["hash"] for task in run["tasks"]] == [name]
    artifact = get(reports, f"artifacts/{quoted(name)}").json()
    assert artifact["hash"] == name
    assert [use["sessionId"] for use in artifact["uses"]] == [name]


@pytest.mark.usefixtures("unusual_runs")
@pytest.mark.parametrize("name", ["", "/", "//"], ids=ascii)
def test_run_with_an_empty_session_is_listed_but_has_no_path(reports: Server, name: str) -> None:
    post_event(reports, "")
    assert "runs" in get(reports, f"runs/{quoted(name)}").json()
    run_list = get(reports, "runs", limit="1000", fresh="true").json()["runs"]
    assert {"", "//"} <= {run["sessionId"] for run in run_list}


@pytest.mark.usefixtures("unusual_runs")
@pytest.mark.parametrize("name", ["a/./b", "a///b", "b", "./a/b", "A/B", "a/b ", "é"], ids=ascii)
def test_similar_name_is_not_found(reports: Server, name: str) -> None:
    for path in (f"runs/{quoted(name)}", f"artifacts/{quoted(name)}"):
        response = get(reports, path)
        assert (response.status_code, error_code(response)) == (404, "not_found")


@pytest.mark.parametrize("path", ["runs", "artifacts"])
@pytest.mark.parametrize("name", ["unknown", "%ff", "y" * 8000], ids=lambda name: name[:9])
@pytest.mark.parametrize("cursor", ["0", "5"])
def test_unknown_name_is_not_found(reports: Server, path: str, name: str, cursor: str) -> None:
    response = get(reports, f"{path}/{name}", cursor=cursor)
    assert (response.status_code, error_code(response)) == (404, "not_found")
    assert len(response.json()["message"]) < 400


@pytest.mark.usefixtures("unusual_runs")
def test_uses_are_empty_after_the_last_page(reports: Server) -> None:
    response = get(reports, f"artifacts/{quoted('a/b')}", cursor="1")
    assert (response.status_code, response.json()["uses"]) == (200, [])


def test_405_lists_allowed_methods_for_names_with_slashes(reports: Server) -> None:
    for path in ("runs/a/b/c", "artifacts/a/b/c"):
        response = reports.request("PUT", f"/v1/{path}")
        assert (response.status_code, error_code(response)) == (405, "method_not_allowed")
        assert set(response.headers["allow"].split(", ")) == {"GET", "OPTIONS"}


def test_openapi_documents_parameters_and_schemas_of_reports(
    reports: Server,
) -> None:
    document = httpx.get(f"{reports.url}/openapi.json").json()
    operations = {
        path: methods["get"] for path, methods in document["paths"].items() if "get" in methods
    }
    common = {"since", "until", "fresh"}
    filters = {"ci", "interactive", "agent", "token"}
    paged = {"limit", "cursor"}
    expected: dict[str, tuple[set[str], str]] = {
        "/v1/analytics/summary": (common | filters, "Summary"),
        "/v1/analytics/timeseries": (common | filters | {"bucket", "timezone"}, "Timeseries"),
        "/v1/analytics/breakdown": (common | filters | {"by"}, "Breakdown"),
        "/v1/runs": (common | filters | paged | {"order"}, "RunPage"),
        "/v1/runs/{session}": (paged | {"session", "fresh"}, "RunDetail"),
        "/v1/artifacts": (common | paged | {"order", "unused"}, "ArtifactPage"),
        "/v1/artifacts/{hash}": (common | paged | {"hash"}, "ArtifactDetail"),
    }
    for path, (parameters, schema_name) in expected.items():
        operation = operations[path]
        assert {one["name"] for one in operation["parameters"]} == parameters
        assert all(one["description"] for one in operation["parameters"] if one["in"] == "query")
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].rpartition("/")[2] == schema_name
        fields = document["components"]["schemas"][schema_name]
        assert set(fields["required"]) == set(fields["properties"])
