"""Taking a segment's batches in: events as rows, and what they change in their runs.

Works on the temporary table `incoming`, a batch a row, inside the caller's transaction. A run's
totals change by what its tasks are now less what they were, so they stay exact however its events
are split, late or out of order; only tasks that the batches touch are looked at again.
"""

from collections.abc import Callable, Mapping, Sequence

import duckdb

from hitrate.errors import InvalidSegment
from hitrate.events.models import RunTotalsDelta
from hitrate.events.rules import KINDS, MEASURES, MERGED, REMOTE_HIT, STATE, TOTALS

Durations = Callable[[str, Sequence[str]], Mapping[str, float]]
"""Stored durations, in ms, of those of a team's artifacts that are there and have one."""


_REGULAR = "regexp_full_match({}, '[0-9a-f]{{16}}')"
_PARSED = "('0x' || {})::UBIGINT"
_OTHER = "md5_number_lower({})"


def hash_key(text: str) -> str:
    """SQL for the number that stands for a hash: turbo's own are 64 bits in hexadecimal."""
    return (
        f"CASE WHEN {_REGULAR.format(text)} THEN {_PARSED.format(text)} "
        f"ELSE {_OTHER.format(text)} END"
    )


RUN_KEY = "md5_number_lower({team} || '/' || {session})"

_SAME_SENDER = """
    s.team_id = b.team AND s.token_id = b.token AND s.ci IS NOT DISTINCT FROM b.ci
    AND s.interactive IS NOT DISTINCT FROM b.interactive AND s.agent IS NOT DISTINCT FROM b.agent
"""

NEW_SENDERS = f"""
INSERT INTO senders
SELECT nextval('sender_ids'), * FROM (
    SELECT DISTINCT team, token, ci, interactive, agent FROM {{batches}} b
    WHERE NOT EXISTS (FROM senders s WHERE {_SAME_SENDER})
)
"""

WITH_SENDER = f"{{batches}} b JOIN senders s ON {_SAME_SENDER}"

_LINES = f"""
CREATE OR REPLACE TEMP TABLE lines AS
SELECT line, "receivedAt" AS received_at, team, s.id AS sender
FROM {WITH_SENDER.format(batches="incoming")}
"""

_FRESH = f"""
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT line, e."sessionId" AS session, e.hash AS name,
       CASE WHEN {_REGULAR.format("e.hash")} THEN {_PARSED.format("e.hash")} END AS hash,
       (CASE e.source WHEN 'LOCAL' THEN 0 WHEN 'REMOTE' THEN {REMOTE_HIT} END
        + CASE e.event WHEN 'HIT' THEN 0 WHEN 'MISS' THEN 1 END)::UTINYINT AS kind, e.duration
FROM (SELECT line, unnest(events) AS e FROM incoming)
"""

_UNTOLD = f"kind = {REMOTE_HIT} AND coalesce(duration, 0) = 0"

_SURVEY = f"""
SELECT count(*) FILTER (session IS NULL OR name IS NULL OR kind IS NULL),
       count(*) FILTER (hash IS NULL), count(*) FILTER ({_UNTOLD})
FROM fresh
"""

_NAMES = f"""
INSERT INTO names
SELECT team, hash, name
FROM (SELECT DISTINCT team, {_OTHER.format("name")} AS hash, name
      FROM fresh JOIN lines USING (line) WHERE hash IS NULL) f
WHERE NOT EXISTS (FROM names n WHERE n.team_id = f.team AND n.hash = f.hash)
"""

_CAME = f"""
CREATE OR REPLACE TEMP TABLE came AS
SELECT line, team, session, {RUN_KEY.format(team="team", session="session")} AS key,
       received_at, sender
FROM (SELECT DISTINCT line, session FROM fresh) JOIN lines USING (line)
"""

# A run is what the first batch of it said; `line` is the order in which batches came, and that in
# which new runs are numbered: a segment may hold hours of them.
_SESSIONS = """
CREATE OR REPLACE TEMP TABLE sessions AS
SELECT * EXCLUDE (id, first), coalesce(id, nextval('run_ids')) AS run, id IS NOT NULL AS known
FROM (
    SELECT c.*, r.id
    FROM (
        SELECT key, team, session, min(received_at) AS started_at, max(received_at) AS ended_at,
               first(sender ORDER BY received_at, line) AS sender, min(line) AS first
        FROM came GROUP BY ALL
    ) c
    LEFT JOIN runs r ON r.key = c.key AND r.team_id = c.team AND r.session_id = c.session
    ORDER BY first
)
"""

_PLACES = """
CREATE OR REPLACE TEMP TABLE places AS
SELECT line, team, session, run, came.sender, received_at
FROM came JOIN sessions USING (key, team, session)
"""

_WITHOUT_DURATION = f"""
SELECT team, list(DISTINCT name) FROM fresh JOIN lines USING (line) WHERE {_UNTOLD} GROUP BY team
"""

_MADE = """
CREATE OR REPLACE TEMP TABLE made AS
SELECT unnest($teams) AS team, unnest($names) AS name, unnest($durations) AS made_ms
"""

_ROWS = f"""
CREATE OR REPLACE TEMP TABLE coming AS
SELECT nextval('event_ids') AS id, received_at, sender, run, kind,
       coalesce(hash, {_OTHER.format("fresh.name")}) AS hash, duration, {{made}} AS made_ms
FROM fresh JOIN places USING (line, session) {{join}}
"""

_FROM_ARTIFACTS = f"""
LEFT JOIN made
    ON made.team = places.team AND made.name = fresh.name AND {_UNTOLD}
"""

_TASKS = f"CREATE OR REPLACE TEMP TABLE tasks AS SELECT run, hash, {STATE} FROM coming GROUP BY ALL"

# What was known before of the tasks that known runs bring again.
_BEFORE = f"""
CREATE OR REPLACE TEMP TABLE before AS
SELECT run, hash, {STATE} FROM events
SEMI JOIN (FROM tasks SEMI JOIN (FROM sessions WHERE known) USING (run)) USING (run, hash)
GROUP BY ALL
"""

_AFTER = f"""
CREATE OR REPLACE TEMP TABLE after AS
SELECT run, hash, {MERGED} FROM (
    FROM tasks WHERE run IN (SELECT run FROM sessions WHERE known) UNION ALL FROM before
) GROUP BY ALL
"""

_CHANGES = f"""
CREATE OR REPLACE TEMP TABLE changes AS SELECT run, {TOTALS} FROM ({{tasks}}) GROUP BY run
"""

_OF_NEW_RUNS = "SELECT *, 1 AS sign FROM tasks"

_OF_ALL_RUNS = f"""
    {_OF_NEW_RUNS} WHERE run IN (SELECT run FROM sessions WHERE NOT known)
    UNION ALL SELECT *, 1 FROM after UNION ALL SELECT *, -1 FROM before
"""

_NEW_RUNS = f"""
INSERT INTO runs
SELECT run, key, team, session, sender, started_at, ended_at, {", ".join(MEASURES)}, 0
FROM sessions JOIN changes USING (run) WHERE NOT known
"""

# Batches may be loaded late, so that a run began earlier, and otherwise, than it seemed.
_SPAN = """
    sender = CASE WHEN {0}.started_at < runs.started_at THEN {0}.sender ELSE runs.sender END,
    started_at = least(runs.started_at, {0}.started_at),
    ended_at = greatest(runs.ended_at, {0}.ended_at)
"""

_KNOWN_RUNS = f"""
UPDATE runs SET
    {_SPAN.format("s")},
    {", ".join(f"{name} = runs.{name} + c.{name}" for name in MEASURES)}
FROM sessions s JOIN changes c USING (run) WHERE s.known AND runs.id = s.run
"""

_SUMS = """
SELECT count(*) FILTER (NOT known), sum(tasks), sum(local_hits), sum(remote_hits), sum(local_ms),
       sum(remote_ms)
FROM changes JOIN sessions USING (run)
"""

_RESENT = f"""
UPDATE runs SET {_SPAN.format("came")}, resent = runs.resent + came.events FROM (
    SELECT team, session, {RUN_KEY.format(team="team", session="session")} AS key,
           count(*) AS events, min(received_at) AS started_at, max(received_at) AS ended_at,
           first(sender ORDER BY received_at, line) AS sender
    FROM (
        SELECT line, team, s.id AS sender, "receivedAt" AS received_at,
               unnest(events)."sessionId" AS session
        FROM {WITH_SENDER.format(batches="again")}
    ) GROUP BY ALL
) came
WHERE runs.key = came.key AND runs.team_id = came.team AND runs.session_id = came.session
"""


def ingest_batches(
    cursor: duckdb.DuckDBPyConnection, durations: Durations | None = None
) -> RunTotalsDelta:
    """Make `incoming` rows of events and change their runs; what that changed.

    Raises InvalidSegment.
    """
    for statement in (NEW_SENDERS.format(batches="incoming"), _LINES, _FRESH):
        cursor.execute(statement)
    [(incomplete, with_names, untold)] = cursor.execute(_SURVEY).fetchall()
    if incomplete:
        raise InvalidSegment("An event lacks sessionId, source, event or hash.")
    if with_names:
        cursor.execute(_NAMES)
    for statement in (_CAME, _SESSIONS, _PLACES):
        cursor.execute(statement)
    looked_up = untold and _look_up(cursor, durations)
    made, join = ("made_ms", _FROM_ARTIFACTS) if looked_up else ("NULL::DOUBLE", "")
    cursor.execute(_ROWS.format(made=made, join=join))
    cursor.execute(_TASKS)
    _change_runs(cursor)
    [sums] = cursor.execute(_SUMS).fetchall()
    events = _number(cursor, "INSERT INTO events FROM coming")
    return RunTotalsDelta(events, *(int(value or 0) for value in sums))


def _change_runs(cursor: duckdb.DuckDBPyConnection) -> None:
    if _number(cursor, "SELECT count(*) FROM sessions WHERE known"):
        for statement in (_BEFORE, _AFTER, _CHANGES.format(tasks=_OF_ALL_RUNS), _KNOWN_RUNS):
            cursor.execute(statement)
    else:
        cursor.execute(_CHANGES.format(tasks=_OF_NEW_RUNS))
    cursor.execute(_NEW_RUNS)


def note_resent(cursor: duckdb.DuckDBPyConnection) -> None:
    """Note of the runs in the temporary table `again` how many of their events came again, and
    when: one that is loaded late may be the first."""
    cursor.execute(NEW_SENDERS.format(batches="again"))
    cursor.execute(_RESENT)


def _look_up(cursor: duckdb.DuckDBPyConnection, durations: Durations | None) -> bool:
    """Whether any remote hit has its duration from its artifact; then the table `made` has it."""
    if durations is None:
        return False
    found = [
        (team, name, duration)
        for team, names in cursor.execute(_WITHOUT_DURATION).fetchall()
        for name, duration in durations(team, names).items()
    ]
    if not found:
        return False
    teams, names, lengths = (list(column) for column in zip(*found, strict=True))
    cursor.execute(_MADE, {"teams": teams, "names": names, "durations": lengths})
    return True


def _number(cursor: duckdb.DuckDBPyConnection, statement: str) -> int:
    [(number,)] = cursor.execute(statement).fetchall()
    return int(number)


def kind_names(column: str) -> str:
    """SQL for source and event of a kind."""
    return ", ".join(
        f"CASE {column} "
        + " ".join(f"WHEN {kind} THEN '{pair[part]}'" for kind, pair in enumerate(KINDS))
        + " END"
        for part in (0, 1)
    )
