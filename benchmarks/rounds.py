"""Runs a scenario in alternating rounds and checks its targets."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.errors import MeasurementError
from benchmarks.measure import Figures, RunConfig
from benchmarks.processes import DISTURBED_CORES, wait_for_quiet
from benchmarks.scenarios import Kind, Scenario, Target
from benchmarks.servers import Contender

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Verdict:
    """A target and the measured value, which is None if the measurement failed."""

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
    """The figures of all rounds of a scenario, by contender, and the errors of failed ones."""

    scenario: Scenario
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def median(self, contender: str, figure: str) -> float | None:
        values = [
            figures[figure] for figures in self.rounds.get(contender, []) if figure in figures
        ]
        return statistics.median(values) if values else None

    def ratio(self, figure: str) -> float | None:
        """Return hitrate / peer: the median of the ratios of all rounds.

        Both measurements of a round follow each other directly. So a machine that slows down
        between rounds distorts this median less than it would the quotient of two medians.
        """
        pairs = zip(self.rounds.get("hitrate", []), self.rounds.get("peer", []), strict=False)
        ratios = [own[figure] / peer[figure] for own, peer in pairs if peer.get(figure)]
        return statistics.median(ratios) if ratios else None

    def verdicts(self) -> list[Verdict]:
        """Return a verdict for each target."""
        return [Verdict(target, self._value(target)) for target in self.scenario.targets]

    def _value(self, target: Target) -> float | None:
        if self.failures:
            return None
        if target.kind is Kind.RATIO_AT_LEAST:
            return self.ratio(target.figure)
        return self.median("hitrate", target.figure)


def run(
    scenario: Scenario, contenders: Sequence[Contender], config: RunConfig, rounds: int
) -> Outcome:
    """Measure the contenders in turn, `rounds` times.

    Every second round starts with the other contender, so that neither is always first. A failed
    measurement ends the scenario. Progress is printed to stderr.
    """
    outcome = Outcome(scenario)
    for number in range(1 if scenario.once else rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            name = contender.name
            try:
                figures = _measure_undisturbed(scenario, contender, config)
            except MeasurementError as error:
                outcome.failures.append(f"{name}: {error}")
                _print_progress(scenario, "FAILED", outcome.failures[-1])
                return outcome
            outcome.rounds.setdefault(name, []).append(figures)
            texts = (f"{figure} {value:,.6g}" for figure, value in figures.items())
            _print_progress(scenario, f"round {number + 1}", name, *texts)
    return outcome


def _measure_undisturbed(scenario: Scenario, contender: Contender, config: RunConfig) -> Figures:
    """Measure again if other programs were busy; without a quiet timeout, measure once."""
    attempts: list[Figures] = []
    while len(attempts) < (MAX_ATTEMPTS if config.quiet_timeout_s else 1):
        wait_for_quiet(config.quiet_timeout_s)
        attempts.append(scenario.measure(contender, config))
        if attempts[-1].get("other_cores", 0) <= DISTURBED_CORES:
            break
    return min(attempts, key=lambda figures: figures.get("other_cores", 0))


def _print_progress(scenario: Scenario, *parts: str) -> None:
    print(f"{scenario.name}:", "  ".join(parts), file=sys.stderr, flush=True)
