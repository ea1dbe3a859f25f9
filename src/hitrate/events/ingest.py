"""Ingestion: turns batches into events, and updates the totals of their runs.

The statements read the temporary table `incoming`, one row for each batch, inside the transaction
of the caller. The totals of a run change by the difference between its tasks after and before the
batches, so they stay exact however events are split, late or out of order. Only tasks that occur in
the batches are read.
"""

from collections.abc import Callable, Mapping, Sequence

import duckdb

from hitrate.errors import InvalidSegment
from hitrate.events.models import RunTotalsDelta
from hitrate.events.outcomes import (
    REMOTE_HIT,
    RUN_TOTALS,
    RUN_TOTALS_FROM_TASKS,
    TASK_FROM_EVENTS,
    TASK_FROM_PARTS,
)
from hitrate.events.schema import fetch_number, hex_hash_key, is_hex_hash, other_hash_key, run_key

Durations = Callable[[str, Sequence[str]], Mapping[str, float]]
"""Looks up the durations of a team's stored artifacts, in ms, by hash. Raises DatabaseError."""

_SAME_SENDER = """
    s.team_id = b.team AND s.token_id = b.token AND s.ci IS NOT DISTINCT FROM b.ci
    AND s.interactive IS NOT DISTINCT FROM b.interactive AND s.agent IS NOT DISTINCT FROM b.agent
"""


def with_sender(table: str) -> str:
    """Return SQL that joins the rows `b` of a table to their senders `s`."""
    return f"{table} b JOIN senders s ON {_SAME_SENDER}"


def insert_senders(table: str) -> str:
    """Return the statement that adds the senders of a table that are new."""
    return f"""
        INSERT INTO senders
        SELECT nextval('sender_ids'), * FROM (
            SELECT DISTINCT team, token, ci, interactive, agent FROM {table} b
            WHERE NOT EXISTS (FROM senders s WHERE {_SAME_SENDER})
        )
    """


# Step 1: read events and batches

_STAGE_BATCHES = f"""
CREATE OR REPLACE TEMP TABLE staged_batches AS
SELECT line, "receivedAt" AS received_at, team, s.id AS sender
FROM {with_sender("incoming")}
"""

_STAGE_EVENTS = f"""
CREATE OR REPLACE TEMP TABLE staged_events AS
SELECT line, e."sessionId" AS session, e.hash AS name,
       CASE WHEN {is_hex_hash("e.hash")} THEN {hex_hash_key("e.hash")} END AS hex_hash,
       (CASE e.source WHEN 'LOCAL' THEN 0 WHEN 'REMOTE' THEN {REMOTE_HIT} END
        + CASE e.event WHEN 'HIT' THEN 0 WHEN 'MISS' THEN 1 END)::UTINYINT AS kind, e.duration
FROM (SELECT line, unnest(events) AS e FROM incoming)
"""

_NEEDS_ARTIFACT_DURATION = f"kind = {REMOTE_HIT} AND coalesce(duration, 0) = 0"

_COUNT_STAGED_EVENTS = f"""
SELECT count(*) FILTER (session IS NULL OR name IS NULL OR kind IS NULL) AS incomplete,
       count(*) FILTER (hex_hash IS NULL) AS with_name,
       count(*) FILTER ({_NEEDS_ARTIFACT_DURATION}) AS without_duration
FROM staged_events
"""

_INSERT_NAMES = f"""
INSERT INTO names
SELECT team, hash, name
FROM (SELECT DISTINCT team, {other_hash_key("name")} AS hash, name
      FROM staged_events JOIN staged_batches USING (line) WHERE hex_hash IS NULL) e
WHERE NOT EXISTS (FROM names n WHERE n.team_id = e.team AND n.hash = e.hash)
"""

# Step 2: find or number the runs

_STAGE_BATCH_SESSIONS = f"""
CREATE OR REPLACE TEMP TABLE batch_sessions AS
SELECT line, team, session, {run_key("team", "session")} AS key, received_at, sender
FROM (SELECT DISTINCT line, session FROM staged_events) JOIN staged_batches USING (line)
"""

# A run has the sender of its first batch. New runs are numbered in the order in which their batches
# arrived, the order of `line`: a segment may span hours.
_STAGE_SESSIONS = """
CREATE OR REPLACE TEMP TABLE sessions AS
SELECT * EXCLUDE (id, first_line), coalesce(id, nextval('run_ids')) AS run, id IS NULL AS is_new
FROM (
    SELECT b.*, r.id
    FROM (
        SELECT key, team, session, min(received_at) AS started_at, max(received_at) AS ended_at,
               first(sender ORDER BY received_at, line) AS sender, min(line) AS first_line
        FROM batch_sessions GROUP BY ALL
    ) b
    LEFT JOIN runs r ON r.key = b.key AND r.team_id = b.team AND r.session_id = b.session
    ORDER BY first_line
)
"""

_STAGE_BATCH_RUNS = """
CREATE OR REPLACE TEMP TABLE batch_runs AS
SELECT line, team, session, run, b.sender, received_at
FROM batch_sessions b JOIN sessions USING (key, team, session)
"""

# Step 3: create the rows of `events`

_HASHES_WITHOUT_DURATION = f"""
SELECT team, list(DISTINCT name) FROM staged_events JOIN staged_batches USING (line)
WHERE {_NEEDS_ARTIFACT_DURATION} GROUP BY team
"""

_STAGE_ARTIFACT_DURATIONS = """
CREATE OR REPLACE TEMP TABLE artifact_durations AS
SELECT unnest($teams) AS team, unnest($names) AS name, unnest($durations) AS made_ms
"""

_ARTIFACT_DURATION = f"""
LEFT JOIN artifact_durations a
    ON a.team = b.team AND a.name = e.name AND {_NEEDS_ARTIFACT_DURATION}
"""


def _stage_new_events(artifact_duration: str, join: str) -> str:
    return f"""
        CREATE OR REPLACE TEMP TABLE new_events AS
        SELECT nextval('event_ids') AS id, received_at, sender, run, kind,
               coalesce(hex_hash, {other_hash_key("e.name")}) AS hash, duration,
               {artifact_duration} AS made_ms
        FROM staged_events e JOIN batch_runs b USING (line, session) {join}
    """


_STAGE_NEW_EVENTS = _stage_new_events("NULL::DOUBLE", "")
_STAGE_NEW_EVENTS_WITH_ARTIFACT_DURATIONS = _stage_new_events("a.made_ms", _ARTIFACT_DURATION)

# Step 4: update the totals of runs

_STAGE_TASKS = f"""
CREATE OR REPLACE TEMP TABLE tasks AS
SELECT run, hash, {TASK_FROM_EVENTS} FROM new_events GROUP BY ALL
"""

_STAGE_TASKS_BEFORE = f"""
CREATE OR REPLACE TEMP TABLE tasks_before AS
SELECT run, hash, {TASK_FROM_EVENTS} FROM events
SEMI JOIN (FROM tasks SEMI JOIN (FROM sessions WHERE NOT is_new) USING (run)) USING (run, hash)
GROUP BY ALL
"""

_STAGE_TASKS_AFTER = f"""
CREATE OR REPLACE TEMP TABLE tasks_after AS
SELECT run, hash, {TASK_FROM_PARTS} FROM (
    FROM tasks WHERE run IN (SELECT run FROM sessions WHERE NOT is_new)
    UNION ALL FROM tasks_before
) GROUP BY ALL
"""

_STAGE_RUN_DELTAS_OF_NEW_RUNS = f"""
CREATE OR REPLACE TEMP TABLE run_deltas AS
SELECT run, {RUN_TOTALS_FROM_TASKS} FROM (SELECT *, 1 AS sign FROM tasks) GROUP BY run
"""

_STAGE_RUN_DELTAS = f"""
CREATE OR REPLACE TEMP TABLE run_deltas AS
SELECT run, {RUN_TOTALS_FROM_TASKS} FROM (
    SELECT *, 1 AS sign FROM tasks WHERE run IN (SELECT run FROM sessions WHERE is_new)
    UNION ALL SELECT *, 1 FROM tasks_after
    UNION ALL SELECT *, -1 FROM tasks_before
) GROUP BY run
"""

_INSERT_RUNS = f"""
INSERT INTO runs
SELECT run, key, team, session, sender, started_at, ended_at, {", ".join(RUN_TOTALS)}, 0
FROM sessions JOIN run_deltas USING (run) WHERE is_new
"""


def _extend_span(other: str) -> str:
    """Return SQL that extends a run to the start and end of `other`.

    A batch may be loaded late, so a run may have started earlier and with another sender.
    """
    return f"""
        sender = CASE WHEN {other}.started_at < runs.started_at
                 THEN {other}.sender ELSE runs.sender END,
        started_at = least(runs.started_at, {other}.started_at),
        ended_at = greatest(runs.ended_at, {other}.ended_at)
    """


_UPDATE_RUNS = f"""
UPDATE runs SET
    {_extend_span("s")},
    {", ".join(f"{name} = runs.{name} + d.{name}" for name in RUN_TOTALS)}
FROM sessions s JOIN run_deltas d USING (run) WHERE NOT s.is_new AND runs.id = s.run
"""

_SUM_RUN_DELTAS = """
SELECT count(*) FILTER (is_new), sum(tasks), sum(local_hits), sum(remote_hits), sum(local_ms),
       sum(remote_ms)
FROM run_deltas JOIN sessions USING (run)
"""

_UPDATE_RUNS_OF_DUPLICATES = f"""
UPDATE runs SET {_extend_span("d")}, resent = runs.resent + d.events FROM (
    SELECT team, session, {run_key("team", "session")} AS key,
           count(*) AS events, min(received_at) AS started_at, max(received_at) AS ended_at,
           first(sender ORDER BY received_at, line) AS sender
    FROM (
        SELECT line, team, s.id AS sender, "receivedAt" AS received_at,
               unnest(events)."sessionId" AS session
        FROM {with_sender("duplicates")}
    ) GROUP BY ALL
) d
WHERE runs.key = d.key AND runs.team_id = d.team AND runs.session_id = d.session
"""


def ingest_batches(
    cursor: duckdb.DuckDBPyConnection, durations: Durations | None = None
) -> RunTotalsDelta:
    """Insert the events of the batches in `incoming` and update their runs.

    `durations` supplies the durations of remote hits that were sent without one.

    Raises InvalidSegment, and whatever `durations` raises.
    """
    for statement in (insert_senders("incoming"), _STAGE_BATCHES, _STAGE_EVENTS):
        cursor.execute(statement)
    [(incomplete, with_name, without_duration)] = cursor.execute(_COUNT_STAGED_EVENTS).fetchall()
    if incomplete:
        raise InvalidSegment("An event lacks sessionId, source, event or hash.")
    if with_name:
        cursor.execute(_INSERT_NAMES)
    for statement in (_STAGE_BATCH_SESSIONS, _STAGE_SESSIONS, _STAGE_BATCH_RUNS):
        cursor.execute(statement)
    if without_duration and durations and _stage_artifact_durations(cursor, durations):
        cursor.execute(_STAGE_NEW_EVENTS_WITH_ARTIFACT_DURATIONS)
    else:
        cursor.execute(_STAGE_NEW_EVENTS)
    cursor.execute(_STAGE_TASKS)
    _update_runs(cursor)
    [sums] = cursor.execute(_SUM_RUN_DELTAS).fetchall()
    events = fetch_number(cursor, "INSERT INTO events FROM new_events")
    return RunTotalsDelta(events, *(int(value or 0) for value in sums))


def record_duplicates(cursor: duckdb.DuckDBPyConnection) -> None:
    """Add the batches in the temporary table `duplicates` to `runs.resent`.

    They also extend their runs: a duplicate that is loaded late may have been the first batch.
    """
    cursor.execute(insert_senders("duplicates"))
    cursor.execute(_UPDATE_RUNS_OF_DUPLICATES)


def _update_runs(cursor: duckdb.DuckDBPyConnection) -> None:
    if fetch_number(cursor, "SELECT count(*) FROM sessions WHERE NOT is_new"):
        for statement in (
            _STAGE_TASKS_BEFORE,
            _STAGE_TASKS_AFTER,
            _STAGE_RUN_DELTAS,
            _UPDATE_RUNS,
        ):
            cursor.execute(statement)
    else:
        cursor.execute(_STAGE_RUN_DELTAS_OF_NEW_RUNS)
    cursor.execute(_INSERT_RUNS)


def _stage_artifact_durations(cursor: duckdb.DuckDBPyConnection, durations: Durations) -> bool:
    """Create `artifact_durations`, if an artifact has a duration. Return whether one has."""
    rows = [
        (team, name, duration_ms)
        for team, names in cursor.execute(_HASHES_WITHOUT_DURATION).fetchall()
        for name, duration_ms in durations(team, names).items()
    ]
    if not rows:
        return False
    teams, names, durations_ms = (list(column) for column in zip(*rows, strict=True))
    values = {"teams": teams, "names": names, "durations": durations_ms}
    cursor.execute(_STAGE_ARTIFACT_DURATIONS, values)
    return True
