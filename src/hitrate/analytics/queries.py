"""The questions that analytics put to the event store, as SQL in one place.

`runs` answers for any number of events. `TASKS`, `USES` and `HITS` look at the events of one run or
of certain artifacts; only `MOST_HIT` and `EVER_HIT` look at all events of the period.
"""

from hitrate.events.rules import LOCAL_HIT, OUTCOME, REMOTE_HIT, SAVED_MS, TASK_FROM_EVENTS
from hitrate.events.schema import hash_key, run_key

_HIT_RATE = "CASE WHEN r.tasks > 0 THEN (r.local_hits + r.remote_hits) / r.tasks END"

_SUMMED = ("tasks", "local_hits", "remote_hits", "local_ms", "remote_ms", "events")

MEASURES = f"""
    count(*) AS runs,
    {", ".join(f"coalesce(sum(r.{name}), 0)::BIGINT AS {name}" for name in _SUMMED)},
    coalesce(sum(r.repeats + r.resent), 0)::BIGINT AS duplicates,
    coalesce(sum(r.anomalies), 0)::BIGINT AS anomalies,
    quantile_cont({_HIT_RATE}, [0.25, 0.5, 0.75]) AS bands
"""

MOVED = ", ".join(
    f"coalesce(sum({name}), 0)::BIGINT AS {name}"
    for name in ("uploads", "uploaded_bytes", "downloads", "downloaded_bytes")
)

SUMMARY = f"SELECT {MEASURES} {{runs}}"
MOVED_IN_ALL = f"SELECT {MOVED} {{transfers}}"

# The last start that is not after the moment is that of its bucket.
_BUCKETED = """
ASOF JOIN (SELECT unnest($starts::BIGINT[]) AS start) b ON r.{at} >= b.start
GROUP BY b.start ORDER BY b.start
"""

TIMESERIES = (
    f"SELECT b.start, {MEASURES} FROM (SELECT r.* {{runs}}) r {_BUCKETED.format(at='started_at')}"
)
MOVED_IN_TIME = (
    f"SELECT b.start, {MOVED} FROM (SELECT t.* {{transfers}}) r {_BUCKETED.format(at='moved_at')}"
)

KEYS = {
    "ci": "s.ci",
    "agent": "s.agent",
    "interactive": "CASE s.interactive WHEN true THEN 'true' WHEN false THEN 'false' END",
    "token": "s.token_id",
    "user": "$users[list_position($tokens, s.token_id)]",
}
"""What runs may be grouped by."""

GROUPS_MOST = 500
BREAKDOWN = f"""
SELECT {{key}} AS key, {MEASURES} {{runs}} GROUP BY 1 ORDER BY tasks DESC, 1 LIMIT {GROUPS_MOST}
"""
MOVED_BY_KEY = f"SELECT {{key}} AS key, {MOVED} {{transfers}} GROUP BY 1"
FILTER_OPTIONS = """
SELECT (list(DISTINCT ci ORDER BY ci) FILTER (ci IS NOT NULL))[1:100],
       (list(DISTINCT agent ORDER BY agent) FILTER (agent IS NOT NULL))[1:100]
FROM senders WHERE team_id = $team
"""
TEAM_VERSION = """
SELECT count(*), coalesce(sum(events + resent), 0)::BIGINT FROM runs
WHERE team_id = $team AND ended_at >= $from_ms
"""
SENDING_TOKENS = "SELECT DISTINCT token_id FROM senders WHERE team_id = $team"

RUN = """
r.id, r.session_id, r.started_at, r.ended_at, r.tasks, r.local_hits, r.remote_hits,
r.local_ms, r.remote_ms, r.events, r.repeats + r.resent AS duplicates, r.anomalies,
s.ci, s.interactive, s.agent, s.token_id
"""

ORDERS = {
    "newest": "r.started_at DESC, r.id DESC",
    "best": f"({_HIT_RATE}) DESC NULLS LAST, r.tasks DESC, r.id DESC",
    "worst": f"({_HIT_RATE}) ASC NULLS LAST, r.tasks DESC, r.id DESC",
    "saved": "r.local_ms + r.remote_ms DESC, r.id DESC",
    "largest": "r.tasks DESC, r.id DESC",
}
"""What runs may be listed by."""

RUNS = f"SELECT {RUN} {{runs}} ORDER BY {{order}} LIMIT $limit OFFSET $offset"

ONE_RUN = f"""
SELECT {RUN} FROM runs r JOIN senders s ON s.id = r.sender
WHERE r.key = {run_key("$team", "$session")}
  AND r.team_id = $team AND r.session_id = $session
"""

NAME = "coalesce(n.name, printf('%016x', {0}.hash))"
_NAMED = "LEFT JOIN names n ON n.team_id = $team AND n.hash = {0}.hash"

_OF_TEAM = "sender IN (SELECT id FROM senders WHERE team_id = $team)"

TASKS = f"""
SELECT {NAME.format("t")}, t.outcome, t.told_ms, t.saved_ms FROM (
    SELECT hash, {OUTCOME} AS outcome, {SAVED_MS} AS saved_ms,
           greatest(local_ms, remote_ms) AS told_ms
    FROM (SELECT hash, {TASK_FROM_EVENTS} FROM events
          WHERE run = $run AND received_at >= $from_ms AND received_at <= $to_ms GROUP BY hash)
) t {_NAMED.format("t")}
ORDER BY t.outcome = 'miss' DESC, t.saved_ms DESC, t.hash LIMIT $limit OFFSET $offset
"""

# A run has all of its events in the period or is cut short: what it did before is not shown.
_USED = f"""
SELECT run, hash, max(received_at) AS last_at, {TASK_FROM_EVENTS} FROM events
WHERE hash IN (SELECT {hash_key("name")} FROM (SELECT unnest($names::VARCHAR[]) AS name))
  AND {_OF_TEAM} AND received_at >= $from_ms AND received_at < $to_ms
GROUP BY run, hash
"""

HITS = f"""
SELECT {NAME.format("u")},
       count(*) FILTER (outcome = 'local_hit'), count(*) FILTER (outcome = 'remote_hit'),
       sum(saved_ms)::BIGINT
FROM (SELECT hash, {OUTCOME} AS outcome, {SAVED_MS} AS saved_ms FROM ({_USED})) u
{_NAMED.format("u")}
GROUP BY 1
"""

USES = f"""
SELECT r.session_id, u.last_at, u.outcome, u.saved_ms, s.ci, s.interactive, s.agent, s.token_id
FROM (SELECT run, last_at, {OUTCOME} AS outcome, {SAVED_MS} AS saved_ms FROM ({_USED})) u
JOIN runs r ON r.id = u.run JOIN senders s ON s.id = r.sender
ORDER BY u.last_at DESC, r.id DESC LIMIT $limit OFFSET $offset
"""

_ALL_HITS = f"""
FROM events
WHERE hash IN (SELECT {hash_key("name")} FROM (SELECT unnest($names::VARCHAR[]) AS name))
  AND kind IN ({LOCAL_HIT}, {REMOTE_HIT}) AND {_OF_TEAM}
  AND received_at >= $from_ms AND received_at < $to_ms
"""

EVER_HIT = (
    f"SELECT {NAME.format('u')} FROM (SELECT DISTINCT hash {_ALL_HITS}) u {_NAMED.format('u')}"
)

MOST_HIT = f"""
SELECT {NAME.format("u")} FROM (
    SELECT hash, count(DISTINCT run) AS hits {_ALL_HITS} GROUP BY hash
) u {_NAMED.format("u")}
ORDER BY u.hits DESC, u.hash LIMIT $limit OFFSET $offset
"""
