"""The Grafana board and docs/monitoring.md: what they name is what a server has."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.client_operations import OPERATIONS, Build
from tests.support.server import Server, eventually
from tests.support.team_fixture import TeamServer

DOCS = Path(__file__).parents[2] / "docs"
BOARD = json.loads((DOCS / "grafana" / "hitrate.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TITLES = [panel["title"] for panel in PANELS]
MONITORING = (DOCS / "monitoring.md").read_text()
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]

# Prometheus adds it when it scrapes; no server says it.
OF_PROMETHEUS = {"instance"}

_STRING = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"\b(hitrate_\w+)\s*(\{{(?:[^}}\"]|{_STRING})*\}})?")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})")
_GROUPING = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")

Samples = dict[str, dict[str, set[str]]]
"""By name of a sample: its labels and their values."""


@dataclass(frozen=True)
class Family:
    """A metric as its documentation lists it."""

    name: str
    kind: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Scraped:
    """What a server says at /metrics."""

    samples: Samples
    families: set[Family]


@pytest.fixture(scope="module")
def scraped(team_server: TeamServer, tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    """From a server that has answered every operation and refused some, and one that is full."""
    team = team_server.create_team()
    build = Build()
    for operation in OPERATIONS:
        assert team.send(operation, build).refused is None
    team.send("downloadArtifact", Build())
    team.token = "hr_unknown"
    team.send("recordEvents")
    eventually(lambda: team_server.server.metric("hitrate_runs_total") > 0)
    full = Server(tmp_path_factory.mktemp("full") / "data", "--min-free-bytes", "1000TB")
    full.start()
    try:
        assert full.request("PUT", "/v8/artifacts/a", content=b"x").status_code == 503
        return merged(scrape(team_server.server), scrape(full))
    finally:
        full.kill()


def merged(one: Scraped, other: Scraped) -> Scraped:
    assert {family.name for family in one.families} == {family.name for family in other.families}
    for name, labels in other.samples.items():
        for label, values in labels.items():
            one.samples[name].setdefault(label, set()).update(values)
    return one


def scrape(server: Server) -> Scraped:
    samples: Samples = {}
    families = set()
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        own = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        families.add(Family(name, family.type, frozenset(own)))
    return Scraped(samples, families)


def problems(expression: str, samples: Samples) -> Iterator[str]:
    """What an expression names that the server does not have."""
    known: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(expression):
        if name not in samples:
            yield f"no metric {name}"
            continue
        known |= samples[name]
        for label, operator, text in _MATCHER.findall(matchers):
            if label not in OF_PROMETHEUS:
                yield from _problems_of(label, operator, json.loads(text), samples[name])
    for grouping in _GROUPING.findall(expression):
        for label in grouping.split(","):
            if label.strip() not in {*known, *OF_PROMETHEUS}:
                yield f"no label {label.strip()} to group by"


def _problems_of(
    label: str, operator: str, text: str, labels: dict[str, set[str]]
) -> Iterator[str]:
    if label not in labels:
        yield f"no label {label}"
        return
    for wanted in text.split("|") if "~" in operator else [re.escape(text)]:
        if not any(re.fullmatch(wanted, value) for value in labels[label]):
            yield f"no {label} is {wanted}"


def without_variables(expression: str) -> str:
    return re.sub(r"\[\$\w+\]", "[5m]", expression)


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[
    f"{title}-{number}" for number, (title, _) in enumerate(EXPRESSIONS)
])  # fmt: skip
def test_the_board_asks_only_for_what_there_is(
    scraped: Scraped, title: str, expression: str
) -> None:
    assert _SELECTOR.search(expression), title
    assert [*problems(without_variables(expression), scraped.samples)] == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(hitrate_nothing_total[5m])", "no metric hitrate_nothing_total"),
        ("hitrate_artifacts_total", "no metric hitrate_artifacts_total"),
        ('hitrate_tasks_total{outcome="hit"}', "no outcome is hit"),
        ('hitrate_tasks_total{outcome=~"miss|remote"}', "no outcome is remote"),
        ('hitrate_runs_total{outcome="miss"}', "no label outcome"),
        ('hitrate_tasks_total{team="a"}', "no label team"),
        ("sum by (source) (hitrate_tasks_total)", "no label source to group by"),
        ('hitrate_http_request_duration_seconds_count{status!="999"}', "no status is 999"),
    ],
)
def test_an_expression_that_asks_for_something_else_is_found(
    scraped: Scraped, expression: str, problem: str
) -> None:
    assert [*problems(expression, scraped.samples)] == [problem]


def test_the_board_shows_every_metric(scraped: Scraped) -> None:
    shown = {name for _, expr in EXPRESSIONS for name, _ in _SELECTOR.findall(expr)}
    for family in scraped.families:
        names = {family.name, f"{family.name}_bucket"} if family.kind == "histogram" else set()
        assert shown & (names or {family.name}), family.name


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_each_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert re.fullmatch(r"[A-Z0-9].{10,}\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_board_goes_into_any_grafana() -> None:
    """It names no data source, only the variable that lets one choose."""
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${datasource}"}
    for part in (*PANELS, *(target for panel in PANELS for target in panel["targets"])):
        assert part["datasource"] == source
    used = {name for _, expr in EXPRESSIONS for name in re.findall(r"\$(\w+)", expr)}
    assert used == {*variables, "__rate_interval"} - {"datasource"}
    assert BOARD["schemaVersion"] == 42
    assert BOARD["id"] is None


def test_every_server_that_is_chosen_counts() -> None:
    for title, expression in EXPRESSIONS:
        for name, matchers in _SELECTOR.findall(expression):
            assert 'instance=~"$instance"' in matchers, (title, name)


def test_the_documented_metrics_are_those_that_exist(scraped: Scraped) -> None:
    rows = re.findall(r"^\| `(hitrate_\w+)` \| (\w+) \| (.*?) \|", MONITORING, flags=re.MULTILINE)
    documented = [
        Family(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    ]
    assert set(documented) == scraped.families
    assert len(set(documented)) == len(documented)


def test_each_label_value_of_a_task_is_documented(scraped: Scraped) -> None:
    for metric, label in (
        ("hitrate_tasks_total", "outcome"),
        ("hitrate_time_saved_seconds_total", "source"),
    ):
        [row] = re.findall(rf"^\| `{metric}` .*$", MONITORING, flags=re.MULTILINE)
        assert scraped.samples[metric][label] <= set(re.findall(r"`(\w+)`", row))


def test_the_documented_expressions_ask_only_for_what_there_is(scraped: Scraped) -> None:
    blocks = re.findall(r"```\w*\n(.*?)```", MONITORING, flags=re.DOTALL)
    asked = [block for block in blocks if _SELECTOR.search(block)]
    assert len(asked) == 2
    assert [found for block in asked for found in problems(block, scraped.samples)] == []


def test_alerts_have_names_of_their_own_and_expressions() -> None:
    names = re.findall(r"^ +- (?:alert|record): (\S+)$", MONITORING, flags=re.MULTILINE)
    assert len(set(names)) == len(names) >= 5
    assert len(re.findall(r"^ +expr: ", MONITORING, flags=re.MULTILINE)) == len(names)
