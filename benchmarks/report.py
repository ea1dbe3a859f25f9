"""Report of a run, as a table or as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import DISTURBED_CORES
from benchmarks.rounds import Outcome, Verdict
from benchmarks.scenarios import Kind

TABLE_WIDTH = 118
UNITS = {
    "rate": "{:,.0f}/s",
    "loaded_per_s": "{:,.0f} events/s loaded",
    "p99_ms": "{:,.1f} ms p99",
    "peak_mb": "{:,.0f} MB peak",
    "start_s": "{:,.2f} s",
}


def print_table(outcomes: Sequence[Outcome], machine: str) -> None:
    """Print one row per scenario, then failed and disturbed measurements."""
    table = Table(title=machine, title_justify="left", width=TABLE_WIDTH)
    table.add_column("scenario")
    for heading in ("hitrate", "peer", "ratio", "p99 hitrate", "p99 peer"):
        table.add_column(heading, justify="right")
    table.add_column("targets")
    for outcome in outcomes:
        figure = outcome.scenario.primary_figure
        ratio = outcome.ratio(figure)
        table.add_row(
            f"{outcome.scenario.name}\n[dim]{outcome.scenario.title}",
            _format(figure, outcome.median("hitrate", figure)),
            _format(figure, outcome.median("peer", figure)),
            "-" if ratio is None else f"{ratio:.2f}",
            _milliseconds(outcome.median("hitrate", "p99_ms")),
            _milliseconds(outcome.median("peer", "p99_ms")),
            "\n".join(_format_verdict(verdict) for verdict in _verdicts(outcome)) or "-",
        )
    # A fixed width makes the table the same in a terminal, a pipe and a log.
    console = Console(width=TABLE_WIDTH)
    console.print(table)
    for outcome in outcomes:
        for failure in outcome.failures:
            console.print(f"{outcome.scenario.name}: {_shorten(failure)}", markup=False)
        if (busy := _max_other_cores(outcome)) > DISTURBED_CORES:
            console.print(
                f"{outcome.scenario.name}: other programs used up to {busy:.1f} cores during "
                "a measurement; repeat it on a quiet machine.",
                markup=False, highlight=False,
            )  # fmt: skip


def to_json(outcomes: Sequence[Outcome], machine: str) -> str:
    """Return the medians, ratios, verdicts and figures of all rounds, by scenario."""
    scenarios: dict[str, Any] = {}
    for outcome in outcomes:
        scenarios[outcome.scenario.name] = {
            "title": outcome.scenario.title,
            "median": {
                name: {figure: outcome.median(name, figure) for figure in rounds[0]}
                for name, rounds in outcome.rounds.items()
            },
            "ratio": {
                outcome.scenario.primary_figure: outcome.ratio(outcome.scenario.primary_figure)
            },
            "targets": [
                {
                    "figure": verdict.target.figure,
                    "kind": verdict.target.kind.value,
                    "limit": verdict.target.limit,
                    "value": verdict.value,
                    "passed": verdict.passed,
                }
                for verdict in _verdicts(outcome)
            ],
            "rounds": outcome.rounds,
            "failures": outcome.failures,
            "other_cores": _max_other_cores(outcome),
        }
    return json.dumps({"machine": machine, "scenarios": scenarios}, indent=2)


def all_passed(outcomes: Sequence[Outcome]) -> bool:
    """Return whether no measurement failed and every checked target is reached."""
    return all(
        not outcome.failures and all(verdict.passed for verdict in _verdicts(outcome))
        for outcome in outcomes
    )


def _verdicts(outcome: Outcome) -> list[Verdict]:
    """Return the verdicts of this run; ratios are missing if only one contender was measured."""
    verdicts = outcome.verdicts()
    if outcome.failures:
        return verdicts
    return [verdict for verdict in verdicts if verdict.value is not None]


def _max_other_cores(outcome: Outcome) -> float:
    """Return the maximum of busy cores of other programs over all rounds."""
    every = [figures for rounds in outcome.rounds.values() for figures in rounds]
    return max((figures.get("other_cores", 0.0) for figures in every), default=0.0)


def _shorten(failure: str) -> str:
    """Return the first and the last line: the error and the end of a log. stderr has it all."""
    lines = failure.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def _format(figure: str, value: float | None) -> str:
    return "-" if value is None else UNITS[figure].format(value)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def _format_verdict(verdict: Verdict) -> str:
    target = verdict.target
    word = "[green]pass[/]" if verdict.passed else "[red]MISS[/]"
    bound = "≤" if target.kind is Kind.AT_MOST else "≥"
    if target.kind is Kind.RATIO_AT_LEAST:
        return f"{word} ratio {bound} {target.limit:g}"
    unit = UNITS[target.figure]
    if verdict.value is None or target.figure == "start_s":
        return f"{word} {bound} {unit.format(target.limit)}"
    number = unit.split(" ", 1)[0].format(verdict.value)
    return f"{word} {number} {bound} {unit.format(target.limit)}"
