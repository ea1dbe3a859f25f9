"""What events mean: the rules, once, as SQL over rows of `events`.

A task of a run is a pair (run, hash). It is a local hit if it has a LOCAL HIT, else a remote hit
if it has a REMOTE HIT, else a miss. A hit saves the longest time that an event of its kind tells;
one that tells 0 or nothing, as where a proxy dropped a header of the download, saves the time
stored with the artifact. Everything here is a maximum, a union or a count, so neither order nor
split matters.
"""

LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS = range(4)
"""The values of `events.kind`."""

KINDS = (("LOCAL", "HIT"), ("LOCAL", "MISS"), ("REMOTE", "HIT"), ("REMOTE", "MISS"))
"""Source and event of each kind."""

MAX_DURATION_MS = 24 * 3600 * 1000
"""A task is not taken to have lasted longer; what tells more counts as this, and as an anomaly."""

OUTCOMES = ("local_hit", "remote_hit", "miss")

_TOLD = "CASE WHEN coalesce(duration, 0) = 0 THEN coalesce(made_ms, 0) ELSE duration END"


def _longest(kind: int) -> str:
    capped = f"floor(least(greatest({_TOLD}, 0), {MAX_DURATION_MS}) + 0.5)::BIGINT"
    return f"max(CASE WHEN kind = {kind} THEN {capped} END)"


STATE = f"""
    bit_or(1::UTINYINT << kind) AS kinds,
    count(*) AS events,
    {_longest(LOCAL_HIT)} AS local_ms,
    {_longest(REMOTE_HIT)} AS remote_ms,
    count(*) FILTER ({_TOLD} < 0 OR {_TOLD} > {MAX_DURATION_MS}) AS anomalies
"""
"""A task from the rows of its events, grouped by run and hash."""

MERGED = """
    bit_or(kinds) AS kinds,
    sum(events)::BIGINT AS events,
    max(local_ms) AS local_ms,
    max(remote_ms) AS remote_ms,
    sum(anomalies)::BIGINT AS anomalies
"""
"""A task from what is known of two parts of its events."""

_IS_LOCAL = f"kinds & {1 << LOCAL_HIT} > 0"
_IS_REMOTE = f"kinds & {1 << LOCAL_HIT | 1 << REMOTE_HIT} = {1 << REMOTE_HIT}"

OUTCOME = (
    f"CASE WHEN {_IS_LOCAL} THEN 'local_hit' WHEN {_IS_REMOTE} THEN 'remote_hit' ELSE 'miss' END"
)
"""What became of a task."""

SAVED_MS = f"CASE WHEN {_IS_LOCAL} THEN local_ms WHEN {_IS_REMOTE} THEN remote_ms ELSE 0 END"

MEASURES = ("tasks", "local_hits", "remote_hits", "local_ms", "remote_ms", "events", "repeats",
            "anomalies")  # fmt: skip
"""What a run counts. `local_ms`, `remote_ms`: time saved. `repeats`: events of `events` that said
what another had said of the same task."""

TOTALS = f"""
    sum(sign)::BIGINT AS tasks,
    coalesce(sum(sign) FILTER ({_IS_LOCAL}), 0)::BIGINT AS local_hits,
    coalesce(sum(sign) FILTER ({_IS_REMOTE}), 0)::BIGINT AS remote_hits,
    coalesce(sum(sign * local_ms) FILTER ({_IS_LOCAL}), 0)::BIGINT AS local_ms,
    coalesce(sum(sign * remote_ms) FILTER ({_IS_REMOTE}), 0)::BIGINT AS remote_ms,
    sum(sign * events)::BIGINT AS events,
    sum(sign * (events - bit_count(kinds)))::BIGINT AS repeats,
    sum(sign * anomalies)::BIGINT AS anomalies
"""
"""A run's measures from its tasks, or what changes in them: `sign` is 1 for a task as it is now and
-1 for one as it was."""
