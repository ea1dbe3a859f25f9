"""Simulated runs: reproducible, plausible, and varied enough for every chart."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from hitrate.demo.shared_cache import CACHE_BYTES, CachedArtifact, Run
from hitrate.demo.simulator import DAY_MS, GITHUB, GITLAB, WorkloadSimulator
from tests.support.demo_data import DAYS, NOW, all_runs, ms


def hit_rate(runs: list[Run]) -> float:
    outcomes = Counter(result.outcome for run in runs for result in run.tasks)
    return 1 - outcomes["miss"] / outcomes.total()


@dataclass(frozen=True)
class Simulation:
    """A finished simulation: its runs, and the artifacts in the cache at its end."""

    simulator: WorkloadSimulator
    runs: list[Run]
    artifacts: list[CachedArtifact]


@pytest.fixture(scope="module")
def three_months() -> Simulation:
    simulator = WorkloadSimulator(1, 90, ms(NOW))
    return Simulation(simulator, all_runs(simulator), list(simulator.cached_artifacts()))


def test_runs_depend_on_the_seed_only() -> None:
    first, second, other = (WorkloadSimulator(seed, DAYS, ms(NOW)) for seed in (7, 7, 8))
    runs = all_runs(first)
    assert runs == all_runs(second)
    assert list(first.cached_artifacts()) == list(second.cached_artifacts())
    assert runs != all_runs(other)


def test_a_later_time_of_the_same_day_only_adds_runs() -> None:
    noon, evening = (NOW.replace(hour=hour) for hour in (12, 20))
    at_noon, at_evening = (
        all_runs(WorkloadSimulator(7, DAYS, ms(moment))) for moment in (noon, evening)
    )
    assert at_noon == [run for run in at_evening if run.ended_ms <= ms(noon)]
    assert len(at_noon) < len(at_evening)


@pytest.mark.parametrize("days_later", range(7))
def test_the_last_run_ended_within_the_last_four_hours_and_none_is_in_the_future(
    days_later: int,
) -> None:
    now_ms = ms(NOW + timedelta(days=days_later, hours=3 * days_later))
    last_ms = max(run.ended_ms for run in all_runs(WorkloadSimulator(1, 3, now_ms)))
    assert now_ms - 4 * 3_600_000 < last_ms <= now_ms


def test_every_requested_day_has_runs(three_months: Simulation) -> None:
    runs, start_ms = three_months.runs, three_months.simulator.start_ms
    assert 3000 <= len(runs) <= 6000
    assert {(run.started_ms - start_ms) // DAY_MS for run in runs} == set(range(90))


def test_developers_work_mostly_on_working_days(three_months: Simulation) -> None:
    counts: Counter[str] = Counter()
    for run in three_months.runs:
        weekend = datetime.fromtimestamp(run.started_ms / 1000, UTC).weekday() >= 5
        counts["weekend" if weekend else "working day"] += run.sender is not GITLAB
    assert 0 < counts["weekend"] / 26 < 0.2 * counts["working day"] / 64


def test_every_hit_follows_a_run_that_produced_its_artifact(three_months: Simulation) -> None:
    produced: set[tuple[str, int, int]] = set()
    local: set[tuple[str, str]] = set()
    tasks = ((result, run) for run in three_months.runs for result in run.tasks)
    for result, run in sorted(tasks, key=lambda task: task[0].at_ms):
        if result.outcome == "remote_hit":
            assert (result.hash, result.duration_ms, result.size_bytes) in produced
        elif result.outcome == "local_hit":
            assert (run.sender.token, result.hash) in local
        else:
            produced.add((result.hash, result.duration_ms, result.size_bytes))
        local.add((run.sender.token, result.hash))


def test_runs_cover_all_outcomes_ci_systems_agents_and_terminals(three_months: Simulation) -> None:
    runs = three_months.runs
    assert {result.outcome for run in runs for result in run.tasks} == {
        "local_hit",
        "remote_hit",
        "miss",
    }
    assert {run.sender.ci for run in runs} == {"GITHUB_ACTIONS", "GITLAB", None}
    agents = {run.sender.agent for run in runs}
    assert len(agents) == 4
    assert {(run.sender.ci is None, run.sender.interactive) for run in runs} == {
        (False, False),
        (True, True),
        (True, False),
    }
    anomalous = [run for run in runs if any(result.duration_ms < 0 for result in run.tasks)]
    assert len(anomalous) == 1
    assert all((run.dirty_hash is None) == (run.sender.ci is not None) for run in runs)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_hit_rate_rises_except_in_one_bad_week(seed: int) -> None:
    # It ends on a Sunday, so that each group of seven days is a calendar week.
    simulator = WorkloadSimulator(seed, 91, ms(NOW + timedelta(days=4)))
    weeks: list[list[Run]] = [[] for _ in range(13)]
    for run in all_runs(simulator):
        weeks[(run.started_ms - simulator.start_ms) // DAY_MS // 7].append(run)
    rates = [hit_rate(week) for week in weeks]
    assert 0.6 < hit_rate([run for week in weeks for run in week]) < 0.95
    [bad] = [number for number in range(6, 13) if rates[number] < min(rates[:6])]
    other_rates = [rate for number, rate in enumerate(rates) if number != bad]
    assert sum(other_rates[-4:]) / 4 > sum(other_rates[:4]) / 4 + 0.1
    ci = hit_rate([run for run in weeks[bad] if run.sender is GITHUB])
    assert ci < 0.5 < hit_rate([run for run in weeks[bad] if run.sender.interactive])


def test_the_cache_is_nearly_full_and_small(three_months: Simulation) -> None:
    sizes = [artifact.task.size_bytes for artifact in three_months.artifacts]
    assert len(sizes) > 500
    assert 0.9 * CACHE_BYTES < sum(sizes) <= CACHE_BYTES < 50_000_000
    assert min(sizes) < 3_000
    assert max(sizes) > 100_000
    assert all(
        artifact.task.at_ms <= artifact.used_ms <= ms(NOW) for artifact in three_months.artifacts
    )
    assert any(
        artifact.used_ms > artifact.task.at_ms + DAY_MS for artifact in three_months.artifacts
    )
