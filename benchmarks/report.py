"""What a run comes to, as a table for people and as JSON for programs."""

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
    "kept_per_s": "{:,.0f} events/s kept",
    "p99_ms": "{:,.1f} ms p99",
    "peak_mb": "{:,.0f} MB peak",
    "start_s": "{:,.2f} s",
}


def print_table(outcomes: Sequence[Outcome], machine: str) -> None:
    """One row a scenario; below it, what failed and what was disturbed."""
    table = Table(title=machine, title_justify="left", width=TABLE_WIDTH)
    table.add_column("scenario")
    for heading in ("hitrate", "peer", "ratio", "p99 hitrate", "p99 peer"):
        table.add_column(heading, justify="right")
    table.add_column("targets")
    for outcome in outcomes:
        leading, ratio = outcome.scenario.leading, outcome.ratio(outcome.scenario.leading)
        table.add_row(
            f"{outcome.scenario.name}\n[dim]{outcome.scenario.title}",
            _shown(leading, outcome.median("hitrate", leading)),
            _shown(leading, outcome.median("peer", leading)),
            "-" if ratio is None else f"{ratio:.2f}",
            _milliseconds(outcome.median("hitrate", "p99_ms")),
            _milliseconds(outcome.median("peer", "p99_ms")),
            "\n".join(_judged(verdict) for verdict in _verdicts(outcome)) or "-",
        )
    # A fixed width, so that the table is the same in a terminal, a pipe and a log.
    console = Console(width=TABLE_WIDTH)
    console.print(table)
    for outcome in outcomes:
        for failure in outcome.failures:
            console.print(f"{outcome.scenario.name}: {_in_short(failure)}", markup=False)
        if (busy := _others_cores(outcome)) > DISTURBED_CORES:
            console.print(
                f"{outcome.scenario.name}: other programs kept up to {busy:.1f} cores busy during "
                "a measurement; repeat it on a quiet machine before you trust it.",
                markup=False, highlight=False,
            )  # fmt: skip


def as_json(outcomes: Sequence[Outcome], machine: str) -> str:
    """Medians, ratios and verdicts of each scenario, with the figures of every round."""
    scenarios: dict[str, Any] = {}
    for outcome in outcomes:
        scenarios[outcome.scenario.name] = {
            "title": outcome.scenario.title,
            "median": {
                name: {figure: outcome.median(name, figure) for figure in rounds[0]}
                for name, rounds in outcome.rounds.items()
            },
            "ratio": {outcome.scenario.leading: outcome.ratio(outcome.scenario.leading)},
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
            "others_cores": _others_cores(outcome),
        }
    return json.dumps({"machine": machine, "scenarios": scenarios}, indent=2)


def all_passed(outcomes: Sequence[Outcome]) -> bool:
    """Whether nothing failed and every target that could be judged was reached."""
    return all(
        not outcome.failures and all(verdict.passed for verdict in _verdicts(outcome))
        for outcome in outcomes
    )


def _verdicts(outcome: Outcome) -> list[Verdict]:
    """The targets that this run could judge: none when only one contender was asked for."""
    judged = outcome.verdicts()
    if outcome.failures:
        return judged
    return [verdict for verdict in judged if verdict.value is not None]


def _others_cores(outcome: Outcome) -> float:
    """The most that other programs took of the machine in any round."""
    every = [figures for rounds in outcome.rounds.values() for figures in rounds]
    return max((figures.get("others_cores", 0.0) for figures in every), default=0.0)


def _in_short(failure: str) -> str:
    """The first and the last line: what happened, and the end of a log. stderr has it all."""
    lines = failure.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def _shown(figure: str, value: float | None) -> str:
    return "-" if value is None else UNITS[figure].format(value)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def _judged(verdict: Verdict) -> str:
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
