"""Attribution: links each artifact to its producer, the run that missed it and uploaded it.

The producer is the run with the same token that missed the artifact closest in time to its upload.
Events arrive after the upload or, in a long run, before it. So recent uploads are examined after
each load of events until their producer is found or they are too old.
"""

import time

from hitrate import log
from hitrate.artifacts.catalog import ArtifactCatalog, UnattributedArtifact
from hitrate.clock import Clock
from hitrate.errors import DatabaseError
from hitrate.events.models import LoadObserver
from hitrate.events.outcomes import LOCAL_MISS, REMOTE_HIT, REMOTE_MISS
from hitrate.events.schema import hash_key
from hitrate.events.store import DuckDBEventStore

_log = log.get_logger("attribution")

LOOKBACK_MS = 3600 * 1000
MIN_INTERVAL_S = 1.0
MAX_DUTY_CYCLE = 0.05
_MAX_UPLOADS = 2000

# A run that got a remote hit after its local miss downloaded the artifact; it did not produce it.
_PRODUCERS = f"""
SELECT position, arg_min(session, distance) FROM (
    SELECT u.position, r.id, any_value(r.session_id) AS session,
           min(abs(e.received_at - u.uploaded_at)) FILTER (e.kind != {REMOTE_HIT}) AS distance
    FROM (
        SELECT team, {hash_key("name")} AS hash, token, uploaded_at, position
        FROM (SELECT unnest($teams::VARCHAR[]) AS team, unnest($names::VARCHAR[]) AS name,
                     unnest($tokens::VARCHAR[]) AS token,
                     unnest($uploaded::BIGINT[]) AS uploaded_at,
                     unnest(range(len($uploaded))) AS position)
    ) u
    JOIN events e ON e.hash = u.hash
    JOIN senders s ON s.id = e.sender AND s.team_id = u.team AND s.token_id = u.token
    JOIN runs r ON r.id = e.run
    WHERE e.kind IN ({LOCAL_MISS}, {REMOTE_MISS}, {REMOTE_HIT}) AND e.received_at >= $since
    GROUP BY u.position, r.id
    HAVING bool_or(e.kind = {REMOTE_MISS}) OR NOT bool_or(e.kind = {REMOTE_HIT})
)
GROUP BY position
"""


class ArtifactAttribution(LoadObserver):
    """Finds the producers of recent uploads. The loader calls it after loads and uploads."""

    def __init__(self, store: DuckDBEventStore, artifacts: ArtifactCatalog, clock: Clock) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._next_at = float("-inf")

    def on_loaded(self) -> bool:
        """Attribute recent uploads if a pass is due; return whether it ran."""
        return self.run()

    def run(self, *, force: bool = False) -> bool:
        """Find and store the producers of recent uploads; return whether the pass completed.

        If it returns False the caller has to call it again later: unless `force` is set, passes
        are at least a second apart and take at most MAX_DUTY_CYCLE of the time. Raises
        EventStoreUnavailable.
        """
        started_at = time.monotonic()
        if not force and started_at < self._next_at:
            return False
        since_ms = self._clock.now_ms() - LOOKBACK_MS
        try:
            uploads = self._artifacts.unattributed(since_ms, _MAX_UPLOADS)
            if uploads:
                producers = self._find_producers(uploads, since_ms - LOOKBACK_MS)
                self._artifacts.set_producers([(uploads[n], session) for n, session in producers])
        except DatabaseError as error:  # must not stop the loader
            _log.warning("attribution postponed", reason=str(error))
            return False
        finally:
            duration_s = time.monotonic() - started_at
            self._next_at = started_at + max(MIN_INTERVAL_S, duration_s / MAX_DUTY_CYCLE)
        return True

    def _find_producers(
        self, uploads: list[UnattributedArtifact], since_ms: int
    ) -> list[tuple[int, str]]:
        """Return the position in `uploads` and the session id, for each producer found."""
        teams, names, tokens, uploaded = (list(column) for column in zip(*uploads, strict=True))
        values = {"teams": teams, "names": names, "tokens": tokens, "uploaded": uploaded}
        with self._store.cursor() as cursor:
            return cursor.execute(_PRODUCERS, {**values, "since": since_ms}).fetchall()
