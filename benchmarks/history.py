"""Generator of a year of events: created by SQL, loaded by the event store's own statements.

Only HTTP and the spool are bypassed. Rows, runs and their totals are computed as in a server.
"""

import sys

from hitrate.events.ingest import ingest_batches
from hitrate.events.store import DuckDBEventStore

YEAR_MS = 365 * 24 * 3600 * 1000
RUNS_PER_SLICE = 5_000
EVENTS_PER_RUN = 100
TASKS_PER_RUN = 60

# A quarter of the tasks miss (two events each). The hashes of the others come from a pool that
# moves with time; about half of them are remote hits (two events), half local hits (one event).
_INCOMING = f"""
CREATE OR REPLACE TEMP TABLE incoming AS
WITH batch AS (
    SELECT i AS line, uuid()::VARCHAR AS session,
           ($end - {YEAR_MS} + i::HUGEINT * {YEAR_MS} // $runs)::BIGINT AS received_at
    FROM range($first, $first + {RUNS_PER_SLICE}) t(i)
), task AS (
    SELECT line, session, j, random() AS r,
           printf('%016x', CASE WHEN random() < 0.3 THEN (random() * 1.8e19)::UBIGINT
                  ELSE hash(line // 2000 * 4000 + (random() * 4000)::BIGINT) END) AS hash,
           (100 + random() * 60000)::INTEGER::DOUBLE AS duration
    FROM batch, range({TASKS_PER_RUN}) u(j)
), event AS (
    SELECT line, unnest(CASE
        WHEN r < 0.25 THEN [
            {{'sessionId': session, 'source': 'LOCAL', 'event': 'MISS', 'hash': hash, 'duration': 0::DOUBLE}},
            {{'sessionId': session, 'source': 'REMOTE', 'event': 'MISS', 'hash': hash, 'duration': 0::DOUBLE}}]
        WHEN r < 0.67 THEN [
            {{'sessionId': session, 'source': 'LOCAL', 'event': 'MISS', 'hash': hash, 'duration': 0::DOUBLE}},
            {{'sessionId': session, 'source': 'REMOTE', 'event': 'HIT', 'hash': hash, 'duration': duration}}]
        ELSE [{{'sessionId': session, 'source': 'LOCAL', 'event': 'HIT', 'hash': hash, 'duration': duration}}]
    END) AS e FROM task
)
SELECT line, $team AS team,
       'tok_' || printf('%020d', hash(line) % 40) AS token, received_at AS "receivedAt",
       CASE hash(line) % 3 WHEN 0 THEN NULL ELSE 'GITHUB_ACTIONS' END AS ci,
       hash(line) % 3 = 0 AS interactive,
       CASE hash(line) % 12 WHEN 0 THEN 'claude-code' END AS agent,
       e.events
FROM batch JOIN (SELECT line, list(e) AS events FROM event GROUP BY line) e USING (line)
"""  # noqa: E501  # reason: one event per line


def generate_year(store: DuckDBEventStore, team_id: str, events: int, end_ms: int) -> int:
    """Generate about so many events of a team, in the year before `end_ms`; return their number."""
    runs, loaded = events // EVENTS_PER_RUN, 0
    with store.cursor() as cursor:
        cursor.execute("SELECT setseed(0.5)")
        for first in range(0, runs, RUNS_PER_SLICE):
            values = {"first": first, "runs": runs, "end": end_ms, "team": team_id}
            cursor.execute("BEGIN")
            cursor.execute(_INCOMING, values)
            loaded += ingest_batches(cursor).events
            cursor.execute("COMMIT")
            if first // RUNS_PER_SLICE % 20 == 0:
                print(f"{loaded:,} events", file=sys.stderr, flush=True)
        cursor.execute("CHECKPOINT")
    return loaded
