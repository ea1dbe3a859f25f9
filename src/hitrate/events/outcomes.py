"""Outcome rules: what events mean, as SQL expressions over rows of `events`.

A task is a pair of run and artifact hash. It is a local hit if it has a LOCAL HIT event, else a
remote hit if it has a REMOTE HIT event, else a miss. A hit saves the longest duration among its
events of that kind. An event whose duration is 0 or missing (a proxy may drop the header of the
download) saves the duration stored with the artifact.

All rules are a maximum, a union or a count, so the result depends neither on the order of events
nor on how they are split into batches.
"""

LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS = range(4)
"""The values of `events.kind`."""

KINDS = (("LOCAL", "HIT"), ("LOCAL", "MISS"), ("REMOTE", "HIT"), ("REMOTE", "MISS"))
"""Source and event of each kind, in the order of their values."""

MAX_DURATION_MS = 24 * 3600 * 1000
"""A longer duration is clamped to this and counted as an anomaly."""

_DURATION_MS = "CASE WHEN coalesce(duration, 0) = 0 THEN coalesce(made_ms, 0) ELSE duration END"


def _max_duration_ms(kind: int) -> str:
    clamped = f"least(greatest({_DURATION_MS}, 0), {MAX_DURATION_MS})"
    return f"max(CASE WHEN kind = {kind} THEN floor({clamped} + 0.5)::BIGINT END)"


TASK_FROM_EVENTS = f"""
    bit_or(1::UTINYINT << kind) AS kinds,
    count(*) AS events,
    {_max_duration_ms(LOCAL_HIT)} AS local_ms,
    {_max_duration_ms(REMOTE_HIT)} AS remote_ms,
    count(*) FILTER ({_DURATION_MS} < 0 OR {_DURATION_MS} > {MAX_DURATION_MS}) AS anomalies
"""
"""The columns of a task, from its events grouped by run and hash."""

TASK_FROM_PARTS = """
    bit_or(kinds) AS kinds,
    sum(events)::BIGINT AS events,
    max(local_ms) AS local_ms,
    max(remote_ms) AS remote_ms,
    sum(anomalies)::BIGINT AS anomalies
"""
"""The columns of a task, from rows that each cover a part of its events."""

_IS_LOCAL_HIT = f"kinds & {1 << LOCAL_HIT} > 0"
_IS_REMOTE_HIT = f"kinds & {1 << LOCAL_HIT | 1 << REMOTE_HIT} = {1 << REMOTE_HIT}"

OUTCOME = f"""CASE
    WHEN {_IS_LOCAL_HIT} THEN 'local_hit'
    WHEN {_IS_REMOTE_HIT} THEN 'remote_hit'
    ELSE 'miss'
END"""
"""The outcome of a task."""

SAVED_MS = f"""CASE
    WHEN {_IS_LOCAL_HIT} THEN local_ms
    WHEN {_IS_REMOTE_HIT} THEN remote_ms
    ELSE 0
END"""
"""The time that a task saved."""

RUN_TOTALS = (
    "tasks", "local_hits", "remote_hits", "local_ms", "remote_ms", "events", "repeats", "anomalies",
)  # fmt: skip
"""The totals of a run. `local_ms` and `remote_ms` are time saved. `repeats` counts the events whose
kind another event of the same task has already."""

RUN_TOTALS_FROM_TASKS = f"""
    sum(sign)::BIGINT AS tasks,
    coalesce(sum(sign) FILTER ({_IS_LOCAL_HIT}), 0)::BIGINT AS local_hits,
    coalesce(sum(sign) FILTER ({_IS_REMOTE_HIT}), 0)::BIGINT AS remote_hits,
    coalesce(sum(sign * local_ms) FILTER ({_IS_LOCAL_HIT}), 0)::BIGINT AS local_ms,
    coalesce(sum(sign * remote_ms) FILTER ({_IS_REMOTE_HIT}), 0)::BIGINT AS remote_ms,
    sum(sign * events)::BIGINT AS events,
    sum(sign * (events - bit_count(kinds)))::BIGINT AS repeats,
    sum(sign * anomalies)::BIGINT AS anomalies
"""
"""The change of a run's totals: `sign` is 1 for the new state of a task, -1 for its old state."""
