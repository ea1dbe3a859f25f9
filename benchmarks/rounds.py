"""Runs a scenario in alternating rounds and judges its targets."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.errors import MeasurementError
from benchmarks.measure import Bench, Figures
from benchmarks.processes import DISTURBED_CORES, wait_for_quiet
from benchmarks.scenarios import Kind, Scenario, Target
from benchmarks.servers import Contender

TRIES = 3


@dataclass(frozen=True)
class Verdict:
    """A target and what it came to; `value` is None when it could not be measured."""

    target: Target
    value: float | None

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        if self.target.kind is Kind.AT_MOST:
            return self.value <= self.target.limit
        return self.value >= self.target.limit


@dataclass
class Outcome:
    """All rounds of one scenario, by contender, and why a measurement failed if one did."""

    scenario: Scenario
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def median(self, contender: str, figure: str) -> float | None:
        values = [
            figures[figure] for figures in self.rounds.get(contender, []) if figure in figures
        ]
        return statistics.median(values) if values else None

    def ratio(self, figure: str) -> float | None:
        """hitrate / peer: the median of the rounds' own ratios.

        The two halves of a round run one right after the other, so a machine that slows down
        between rounds does not distort it as it would the quotient of two medians.
        """
        pairs = zip(self.rounds.get("hitrate", []), self.rounds.get("peer", []), strict=False)
        ratios = [ours[figure] / theirs[figure] for ours, theirs in pairs if theirs.get(figure)]
        return statistics.median(ratios) if ratios else None

    def verdicts(self) -> list[Verdict]:
        """One for each target, when hitrate took part."""
        return [Verdict(target, self._value(target)) for target in self.scenario.targets]

    def _value(self, target: Target) -> float | None:
        if self.failures:
            return None
        if target.kind is Kind.RATIO_AT_LEAST:
            return self.ratio(target.figure)
        return self.median("hitrate", target.figure)


def run(scenario: Scenario, contenders: Sequence[Contender], bench: Bench, rounds: int) -> Outcome:
    """Measure the contenders in turn, `rounds` times.

    Every second round begins with the other contender, so that neither always goes first. A
    failed measurement ends the scenario. Progress goes to stderr.
    """
    outcome = Outcome(scenario)
    for number in range(1 if scenario.once else rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            name = contender.name
            try:
                figures = _undisturbed(scenario, contender, bench)
            except MeasurementError as error:
                outcome.failures.append(f"{name}: {error}")
                _tell(scenario, "FAILED", outcome.failures[-1])
                return outcome
            outcome.rounds.setdefault(name, []).append(figures)
            shown = (f"{figure} {value:,.6g}" for figure, value in figures.items())
            _tell(scenario, f"round {number + 1}", name, *shown)
    return outcome


def _undisturbed(scenario: Scenario, contender: Contender, bench: Bench) -> Figures:
    """Measure, again if other programs were busy meanwhile; without patience, just once."""
    tries: list[Figures] = []
    while len(tries) < (TRIES if bench.patience_s else 1):
        wait_for_quiet(bench.patience_s)
        tries.append(scenario.measure(contender, bench))
        if tries[-1].get("others_cores", 0) <= DISTURBED_CORES:
            break
    return min(tries, key=lambda figures: figures.get("others_cores", 0))


def _tell(scenario: Scenario, *words: str) -> None:
    print(f"{scenario.name}:", "  ".join(words), file=sys.stderr, flush=True)
