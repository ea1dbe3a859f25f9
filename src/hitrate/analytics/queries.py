"""SQL of the reports. The columns of each query are the fields of a type in `rows`.

Reports on runs read the totals in `runs`, whatever the number of events. TASKS, USES and HITS read
the events of one run or of certain artifacts. Only MOST_HIT and EVER_HIT read all events of the
period.

`from_runs` and `from_transfers` are the clauses of a ReportQuery.
"""

from hitrate.events.outcomes import LOCAL_HIT, OUTCOME, REMOTE_HIT, SAVED_MS, TASK_FROM_EVENTS
from hitrate.events.schema import hash_key, run_key

MAX_GROUPS = 500
MAX_CLIENT_NAMES = 100

_HIT_RATE = "CASE WHEN r.tasks > 0 THEN (r.local_hits + r.remote_hits) / r.tasks END"

_RUN_TOTALS = f"""
    count(*) AS runs,
    coalesce(sum(r.tasks), 0)::BIGINT AS tasks,
    coalesce(sum(r.local_hits), 0)::BIGINT AS local_hits,
    coalesce(sum(r.remote_hits), 0)::BIGINT AS remote_hits,
    coalesce(sum(r.local_ms), 0)::BIGINT AS local_ms,
    coalesce(sum(r.remote_ms), 0)::BIGINT AS remote_ms,
    coalesce(sum(r.events), 0)::BIGINT AS events,
    coalesce(sum(r.repeats + r.resent), 0)::BIGINT AS duplicates,
    coalesce(sum(r.anomalies), 0)::BIGINT AS anomalies,
    quantile_cont({_HIT_RATE}, [0.25, 0.5, 0.75]) AS hit_rate_quartiles
"""

_TRANSFER_TOTALS = """
    coalesce(sum(t.uploads), 0)::BIGINT AS uploads,
    coalesce(sum(t.uploaded_bytes), 0)::BIGINT AS uploaded_bytes,
    coalesce(sum(t.downloads), 0)::BIGINT AS downloads,
    coalesce(sum(t.downloaded_bytes), 0)::BIGINT AS downloaded_bytes
"""

# The bucket of a time is the one with the latest start that is not after it.
_BUCKETS = "(SELECT unnest($starts::BIGINT[]) AS start) b"

GROUP_KEYS = {
    "ci": "s.ci",
    "agent": "s.agent",
    "interactive": "CASE s.interactive WHEN true THEN 'true' WHEN false THEN 'false' END",
    "token": "s.token_id",
    "user": "$users[list_position($tokens, s.token_id)]",
}
"""Properties by which runs and transfers can be grouped, as SQL."""


def run_totals(from_runs: str) -> str:
    """Return SQL for the totals of all runs."""
    return f"SELECT NULL AS group_key, {_RUN_TOTALS} {from_runs}"


def transfer_totals(from_transfers: str) -> str:
    """Return SQL for the totals of all transfers."""
    return f"SELECT NULL AS group_key, {_TRANSFER_TOTALS} {from_transfers}"


def run_totals_by_bucket(from_runs: str) -> str:
    """Return SQL for the totals of runs in each bucket of $starts that has any."""
    return f"""
        SELECT b.start AS group_key, {_RUN_TOTALS}
        FROM (SELECT r.* {from_runs}) r ASOF JOIN {_BUCKETS} ON r.started_at >= b.start
        GROUP BY b.start ORDER BY b.start
    """


def transfer_totals_by_bucket(from_transfers: str) -> str:
    """Return SQL for the totals of transfers in each bucket of $starts that has any."""
    return f"""
        SELECT b.start AS group_key, {_TRANSFER_TOTALS}
        FROM (SELECT t.* {from_transfers}) t ASOF JOIN {_BUCKETS} ON t.moved_at >= b.start
        GROUP BY b.start ORDER BY b.start
    """


def run_totals_by_group(from_runs: str, group_key: str) -> str:
    """Return SQL for the totals of runs in each group, by descending number of tasks."""
    return f"""
        SELECT {group_key} AS group_key, {_RUN_TOTALS}
        {from_runs} GROUP BY 1 ORDER BY tasks DESC, 1 LIMIT {MAX_GROUPS}
    """


def transfer_totals_by_group(from_transfers: str, group_key: str) -> str:
    """Return SQL for the totals of transfers in each group."""
    return f"SELECT {group_key} AS group_key, {_TRANSFER_TOTALS} {from_transfers} GROUP BY 1"


_RUN = """
    r.id, r.session_id, r.started_at, r.ended_at, r.tasks, r.local_hits, r.remote_hits,
    r.local_ms, r.remote_ms, r.events, r.repeats + r.resent AS duplicates, r.anomalies,
    s.ci, s.interactive, s.agent, s.token_id
"""

RUN_ORDERS = {
    "newest": "r.started_at DESC, r.id DESC",
    "best": f"({_HIT_RATE}) DESC NULLS LAST, r.tasks DESC, r.id DESC",
    "worst": f"({_HIT_RATE}) ASC NULLS LAST, r.tasks DESC, r.id DESC",
    "saved": "r.local_ms + r.remote_ms DESC, r.id DESC",
    "largest": "r.tasks DESC, r.id DESC",
}
"""Sort orders of a list of runs."""


def run_list(from_runs: str, order: str) -> str:
    """Return SQL for one page of runs, in one of RUN_ORDERS."""
    return f"""
        SELECT {_RUN} {from_runs}
        ORDER BY {RUN_ORDERS[order]} LIMIT $limit OFFSET $offset
    """


RUN = f"""
    SELECT {_RUN} FROM runs r JOIN senders s ON s.id = r.sender
    WHERE r.key = {run_key("$team", "$session")}
        AND r.team_id = $team AND r.session_id = $session
"""

CLIENT_NAMES = f"""
    SELECT
        (list(DISTINCT ci ORDER BY ci) FILTER (ci IS NOT NULL))[1:{MAX_CLIENT_NAMES}] AS ci,
        (list(DISTINCT agent ORDER BY agent) FILTER (agent IS NOT NULL))[1:{MAX_CLIENT_NAMES}]
            AS agents
    FROM senders WHERE team_id = $team
"""

TEAM_VERSION = """
    SELECT count(*) AS runs, coalesce(sum(events + resent), 0)::BIGINT AS events
    FROM runs WHERE team_id = $team AND ended_at >= $from_ms
"""

SENDING_TOKENS = "SELECT DISTINCT token_id FROM senders WHERE team_id = $team"


def hash_text(table: str) -> str:
    """Return SQL for the text of `hash` in a table that is joined by `join_names`."""
    return f"coalesce(n.name, printf('%016x', {table}.hash))"


def join_names(table: str) -> str:
    """Return the SQL join that `hash_text` needs: texts of hashes that are not 64-bit numbers."""
    return f"LEFT JOIN names n ON n.team_id = $team AND n.hash = {table}.hash"


_TEAM_SENDERS = "(SELECT id FROM senders WHERE team_id = $team)"
_REQUESTED_HASHES = f"""(
    SELECT {hash_key("name")} FROM (SELECT unnest($names::VARCHAR[]) AS name)
)"""

TASKS = f"""
    SELECT {hash_text("t")} AS hash, t.outcome, t.hit_ms, t.saved_ms
    FROM (
        SELECT hash, {OUTCOME} AS outcome, {SAVED_MS} AS saved_ms,
            greatest(local_ms, remote_ms) AS hit_ms
        FROM (
            SELECT hash, {TASK_FROM_EVENTS} FROM events
            WHERE run = $run AND received_at >= $from_ms AND received_at <= $to_ms
            GROUP BY hash
        )
    ) t {join_names("t")}
    ORDER BY t.outcome = 'miss' DESC, t.saved_ms DESC, t.hash LIMIT $limit OFFSET $offset
"""

# Of a run that began before the period, only the events within it count.
_USES = f"""
    SELECT run, hash, last_at, {OUTCOME} AS outcome, {SAVED_MS} AS saved_ms
    FROM (
        SELECT run, hash, max(received_at) AS last_at, {TASK_FROM_EVENTS} FROM events
        WHERE hash IN {_REQUESTED_HASHES} AND sender IN {_TEAM_SENDERS}
            AND received_at >= $from_ms AND received_at < $to_ms
        GROUP BY run, hash
    )
"""

HITS = f"""
    SELECT {hash_text("u")} AS hash,
        count(*) FILTER (outcome = 'local_hit') AS local_hits,
        count(*) FILTER (outcome = 'remote_hit') AS remote_hits,
        sum(saved_ms)::BIGINT AS saved_ms
    FROM ({_USES}) u {join_names("u")}
    GROUP BY 1
"""

USES = f"""
    SELECT r.session_id, u.last_at, u.outcome, u.saved_ms,
        s.ci, s.interactive, s.agent, s.token_id
    FROM ({_USES}) u JOIN runs r ON r.id = u.run JOIN senders s ON s.id = r.sender
    ORDER BY u.last_at DESC, r.id DESC LIMIT $limit OFFSET $offset
"""

_HIT_EVENTS = f"""
    SELECT hash, run FROM events
    WHERE hash IN {_REQUESTED_HASHES} AND kind IN ({LOCAL_HIT}, {REMOTE_HIT})
        AND sender IN {_TEAM_SENDERS} AND received_at >= $from_ms AND received_at < $to_ms
"""

EVER_HIT = f"""
    SELECT {hash_text("h")} AS hash
    FROM (SELECT DISTINCT hash FROM ({_HIT_EVENTS})) h {join_names("h")}
"""

MOST_HIT = f"""
    SELECT {hash_text("h")} AS hash
    FROM (SELECT hash, count(DISTINCT run) AS hits FROM ({_HIT_EVENTS}) GROUP BY hash) h
        {join_names("h")}
    ORDER BY h.hits DESC, h.hash LIMIT $limit OFFSET $offset
"""
