"""The Grafana dashboard and docs/monitoring.md, compared with the metrics of a server."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.client_operations import OPERATIONS, SampleBuild
from tests.support.server import Server, eventually
from tests.support.team_fixture import TeamServer

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "hitrate.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TITLES = [panel["title"] for panel in PANELS]
MONITORING = (DOCS / "monitoring.md").read_text()
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]

# Labels that Prometheus adds when it scrapes.
PROMETHEUS_LABELS = {"instance"}

_STRING = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"\b(hitrate_\w+)\s*(\{{(?:[^}}\"]|{_STRING})*\}})?")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})")
_GROUPING = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")

Samples = dict[str, dict[str, set[str]]]
"""Values of each label, by sample name and label."""


@dataclass(frozen=True)
class Family:
    """A metric as the documentation lists it."""

    name: str
    kind: str
    labels: frozenset[str]


@dataclass(frozen=True)
class ScrapedMetrics:
    """Metrics that a server exposes."""

    samples: Samples
    families: set[Family]


@pytest.fixture(scope="module")
def scraped(team_server: TeamServer, tmp_path_factory: pytest.TempPathFactory) -> ScrapedMetrics:
    """Metrics of a server after every operation and some errors, and of one with a full disk."""
    team = team_server.create_team()
    build = SampleBuild()
    for operation in OPERATIONS:
        assert team.send(operation, build).error is None
    team.send("downloadArtifact", SampleBuild())
    team.token = "hr_unknown"
    team.send("recordEvents")
    eventually(lambda: team_server.server.metric("hitrate_runs_total") > 0)
    full = Server(tmp_path_factory.mktemp("full") / "data", "--min-free-bytes", "1000TB")
    full.start()
    try:
        assert full.request("PUT", "/v8/artifacts/a", content=b"x").status_code == 503
        return merge(scrape(team_server.server), scrape(full))
    finally:
        full.kill()


def merge(one: ScrapedMetrics, other: ScrapedMetrics) -> ScrapedMetrics:
    assert {family.name for family in one.families} == {family.name for family in other.families}
    for name, labels in other.samples.items():
        for label, values in labels.items():
            one.samples[name].setdefault(label, set()).update(values)
    return one


def scrape(server: Server) -> ScrapedMetrics:
    samples: Samples = {}
    families = set()
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        labels_of_family = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        families.add(Family(name, family.type, frozenset(labels_of_family)))
    return ScrapedMetrics(samples, families)


def problems(expression: str, samples: Samples) -> Iterator[str]:
    """Yield each metric, label or label value of an expression that the server does not have."""
    available_labels: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(expression):
        if name not in samples:
            yield f"no metric {name}"
            continue
        available_labels |= samples[name]
        for label, operator, text in _MATCHER.findall(matchers):
            if label not in PROMETHEUS_LABELS:
                yield from _label_problems(label, operator, json.loads(text), samples[name])
    for grouping in _GROUPING.findall(expression):
        for label in grouping.split(","):
            if label.strip() not in {*available_labels, *PROMETHEUS_LABELS}:
                yield f"no label {label.strip()} to group by"


def _label_problems(
    label: str, operator: str, text: str, labels: dict[str, set[str]]
) -> Iterator[str]:
    if label not in labels:
        yield f"no label {label}"
        return
    for pattern in text.split("|") if "~" in operator else [re.escape(text)]:
        if not any(re.fullmatch(pattern, value) for value in labels[label]):
            yield f"no {label} is {pattern}"


def without_variables(expression: str) -> str:
    return re.sub(r"\[\$\w+\]", "[5m]", expression)


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[
    f"{title}-{number}" for number, (title, _) in enumerate(EXPRESSIONS)
])  # fmt: skip
def test_dashboard_queries_existing_metrics_and_labels(
    scraped: ScrapedMetrics, title: str, expression: str
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
def test_expression_problems_are_detected(
    scraped: ScrapedMetrics, expression: str, problem: str
) -> None:
    assert [*problems(expression, scraped.samples)] == [problem]


def test_dashboard_uses_every_metric(scraped: ScrapedMetrics) -> None:
    used = {name for _, expr in EXPRESSIONS for name, _ in _SELECTOR.findall(expr)}
    for family in scraped.families:
        names = {family.name, f"{family.name}_bucket"} if family.kind == "histogram" else set()
        assert used & (names or {family.name}), family.name


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_each_panel_has_title_description_unit_and_legends(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert re.fullmatch(r"[A-Z0-9].{10,}\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    occupied: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not occupied & cells, panel["title"]
        occupied |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_dashboard_works_with_any_data_source() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${datasource}"}
    for part in (*PANELS, *(target for panel in PANELS for target in panel["targets"])):
        assert part["datasource"] == source
    used = {name for _, expr in EXPRESSIONS for name in re.findall(r"\$(\w+)", expr)}
    assert used == {*variables, "__rate_interval"} - {"datasource"}
    assert DASHBOARD["schemaVersion"] == 42
    assert DASHBOARD["id"] is None


def test_every_expression_filters_by_selected_instances() -> None:
    for title, expression in EXPRESSIONS:
        for name, matchers in _SELECTOR.findall(expression):
            assert 'instance=~"$instance"' in matchers, (title, name)


def test_documented_metrics_are_the_existing_metrics(scraped: ScrapedMetrics) -> None:
    rows = re.findall(r"^\| `(hitrate_\w+)` \| (\w+) \| (.*?) \|", MONITORING, flags=re.MULTILINE)
    documented = [
        Family(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    ]
    assert set(documented) == scraped.families
    assert len(set(documented)) == len(documented)


def test_label_values_of_task_metrics_are_documented(scraped: ScrapedMetrics) -> None:
    for metric, label in (
        ("hitrate_tasks_total", "outcome"),
        ("hitrate_time_saved_seconds_total", "source"),
    ):
        [row] = re.findall(rf"^\| `{metric}` .*$", MONITORING, flags=re.MULTILINE)
        assert scraped.samples[metric][label] <= set(re.findall(r"`(\w+)`", row))


def test_documented_expressions_query_existing_metrics_and_labels(scraped: ScrapedMetrics) -> None:
    blocks = re.findall(r"```\w*\n(.*?)```", MONITORING, flags=re.DOTALL)
    queries = [block for block in blocks if _SELECTOR.search(block)]
    assert len(queries) == 2
    assert [problem for block in queries for problem in problems(block, scraped.samples)] == []


def test_alerts_have_unique_names_and_expressions() -> None:
    names = re.findall(r"^ +- (?:alert|record): (\S+)$", MONITORING, flags=re.MULTILINE)
    assert len(set(names)) == len(names) >= 5
    assert len(re.findall(r"^ +expr: ", MONITORING, flags=re.MULTILINE)) == len(names)
