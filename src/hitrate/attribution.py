"""Which run made an artifact: the one that missed it, with the same token, nearest to its upload.

Events come after the upload, or, in a long run, before it; so uploads are looked at again, behind
the loader, until their run is known or they are too old.
"""

import time

from hitrate import log
from hitrate.artifacts.catalog import ArtifactCatalog, Upload
from hitrate.clock import Clock
from hitrate.errors import DatabaseError
from hitrate.events.ingest import hash_key
from hitrate.events.models import LoadObserver
from hitrate.events.rules import LOCAL_MISS, REMOTE_HIT, REMOTE_MISS
from hitrate.events.store import DuckDBEventStore

_log = log.get_logger("attribution")

LOOK_EVERY_S = 1.0
ONE_IN = 20
LOOK_BACK_MS = 3600 * 1000
_MANY = 2000

# Who found an artifact in the remote cache missed it locally; that made nothing.
_MAKERS = f"""
SELECT position, arg_min(session, distance) FROM (
    SELECT u.position, r.id, any_value(r.session_id) AS session,
           min(abs(e.received_at - u.made_at)) FILTER (e.kind != {REMOTE_HIT}) AS distance
    FROM (
        SELECT team, {hash_key("name")} AS hash, token, made_at, position
        FROM (SELECT unnest($teams::VARCHAR[]) AS team, unnest($names::VARCHAR[]) AS name,
                     unnest($tokens::VARCHAR[]) AS token, unnest($made::BIGINT[]) AS made_at,
                     unnest(range(len($made))) AS position)
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
    """Called by the loader when something was loaded or uploaded."""

    def __init__(self, store: DuckDBEventStore, artifacts: ArtifactCatalog, clock: Clock) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._next_at = float("-inf")

    def on_loaded(self) -> bool:
        """Attribute the latest uploads, at most once a second."""
        return self.look()

    def look(self, *, now: bool = False) -> bool:
        """Find and note the makers of the last uploads; unless `now`, not more than once a second,
        and with many in a twentieth of the time. Whether it did: else it has to be called again.

        Raises EventStoreUnavailable.
        """
        began_at = time.monotonic()
        if not now and began_at < self._next_at:
            return False
        since_ms = self._clock.now_ms() - LOOK_BACK_MS
        try:
            uploads = self._artifacts.without_maker(since_ms, _MANY)
            if uploads:
                found = self._find(uploads, since_ms - LOOK_BACK_MS)
                self._artifacts.note_makers([(uploads[n], session) for n, session in found])
        except DatabaseError as error:  # loading must go on
            _log.warning("makers of artifacts are noted later", reason=str(error))
            return False
        finally:
            took_s = time.monotonic() - began_at
            self._next_at = began_at + max(LOOK_EVERY_S, ONE_IN * took_s)
        return True

    def _find(self, uploads: list[Upload], since_ms: int) -> list[tuple[int, str]]:
        teams, names, tokens, made = (list(column) for column in zip(*uploads, strict=True))
        values = {"teams": teams, "names": names, "tokens": tokens, "made": made}
        with self._store.cursor() as cursor:
            return cursor.execute(_MAKERS, {**values, "since": since_ms}).fetchall()
