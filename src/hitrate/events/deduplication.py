"""Recognition of re-sent batches: the same bytes from the same token within ten minutes."""

from collections import defaultdict

import duckdb

from hitrate.events.models import DuplicateBatch

RESEND_WINDOW_MS = 10 * 60 * 1000
"""A batch with the same bytes from the same token counts once within this time."""

_POSSIBLE_DUPLICATES = """
SELECT line, "receivedAt", team, token, digest FROM incoming
WHERE digest IN (
    SELECT digest FROM incoming GROUP BY digest HAVING count(*) > 1
    UNION ALL SELECT digest FROM batches
)
ORDER BY "receivedAt", line
"""

_LOADED_BATCHES = """
SELECT received_at, team_id, token_id, digest FROM batches
WHERE digest IN (SELECT digest FROM incoming)
"""

_MOVE_DUPLICATES = """
CREATE OR REPLACE TEMP TABLE duplicates AS
SELECT * FROM incoming WHERE line IN (SELECT unnest($lines::BIGINT[]))
"""

_COUNT_DUPLICATES = """
SELECT team, max("receivedAt"), sum(len(events))::BIGINT FROM duplicates GROUP BY team
"""


def separate_duplicates(cursor: duckdb.DuckDBPyConnection) -> tuple[DuplicateBatch, ...]:
    """Move duplicate batches from `incoming` to `duplicates`. Return their sums by team."""
    lines = _find_duplicates(cursor)
    if not lines:
        return ()
    cursor.execute(_MOVE_DUPLICATES, {"lines": lines})
    cursor.execute("DELETE FROM incoming WHERE line IN (SELECT line FROM duplicates)")
    return tuple(DuplicateBatch(*row) for row in cursor.execute(_COUNT_DUPLICATES).fetchall())


def _find_duplicates(cursor: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the lines of batches that are within RESEND_WINDOW_MS of a counted copy.

    A batch that is loaded late may also be older than that copy.
    """
    candidates = cursor.execute(_POSSIBLE_DUPLICATES).fetchall()
    if not candidates:
        return []
    counted = defaultdict(list)
    for received_at_ms, *identity in cursor.execute(_LOADED_BATCHES).fetchall():
        counted[tuple(identity)].append(received_at_ms)
    lines = []
    for line, received_at_ms, *identity in candidates:
        times_ms = counted[tuple(identity)]
        if any(abs(received_at_ms - time_ms) < RESEND_WINDOW_MS for time_ms in times_ms):
            lines.append(line)
        else:
            times_ms.append(received_at_ms)
    return lines
