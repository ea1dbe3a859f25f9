"""The shapes that analytics are shown in: by the API, the pages, commands and exports alike.

Times are ISO 8601 in UTC, spans and time saved in ms, rates from 0 to 1 and null of no tasks.
"""

import msgspec
from msgspec import field


class TimeSaved(msgspec.Struct):
    """Time that hits saved, in ms, by where they were found."""

    local: int
    remote: int


class Quartiles(msgspec.Struct):
    """A quarter, half and three quarters of the runs had at most this hit rate."""

    p25: float | None
    p50: float | None
    p75: float | None


class Transfers(msgspec.Struct, rename="camel"):
    """Artifacts that went up and down."""

    uploads: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0


class CacheTraffic(Transfers, rename="camel"):
    """And what is kept now, whatever the period or filters."""

    stored_bytes: int = 0
    stored: int = 0


class TaskStats(msgspec.Struct, rename="camel"):
    """What the tasks of runs came to. `events` are those recorded; `duplicates` those that came
    again: repeated (and among `events`) or resent (and dropped). `anomalies` told a duration that
    cannot be."""

    tasks: int
    local_hits: int
    remote_hits: int
    misses: int
    hit_rate: float | None
    time_saved_ms: TimeSaved
    events: int
    duplicates: int
    anomalies: int


class RunStats(TaskStats, rename="camel"):
    """Of the runs that began in a period."""

    runs: int
    artifacts: Transfers


class PreviousPeriod(RunStats, rename="camel"):
    """The period before, equally long."""

    from_: str = field(name="from")
    to: str = field()


class Summary(TaskStats, rename="camel"):
    """Of a period: the runs that began in it. `previous` is the one before, for comparison."""

    runs: int
    artifacts: CacheTraffic
    from_: str = field(name="from")
    to: str = field()
    previous: PreviousPeriod = field()


class Bucket(RunStats, rename="camel"):
    """A part of the period; the first and last may be cut short by its ends."""

    hit_rate_quartiles: Quartiles
    from_: str = field(name="from")
    to: str = field()


class Timeseries(msgspec.Struct, rename="camel"):
    """All parts of the period, also those without runs. They begin where hours, days, Mondays or
    months do in the time zone."""

    bucket: str
    timezone: str
    buckets: list[Bucket]
    from_: str = field(name="from")
    to: str = field()


class Group(RunStats, rename="camel"):
    """Runs that have something in common. `key` is null for those that did not say; `label` says
    it in words."""

    key: str | None
    label: str
    hit_rate_quartiles: Quartiles


class Breakdown(msgspec.Struct, rename="camel"):
    """The groups of a period, those with the most tasks first; 500 at most."""

    by: str
    groups: list[Group]
    from_: str = field(name="from")
    to: str = field()


class Client(msgspec.Struct, rename="camel"):
    """Who sent something: `token_label` and `user` (an e-mail address) as they are called now."""

    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str
    token_label: str | None
    user: str | None


class RunInfo(TaskStats, rename="camel"):
    """A run: what one process of the client did. It began with its first events."""

    session_id: str
    started_at: str
    ended_at: str
    sender: Client


class RunPage(msgspec.Struct, rename="camel"):
    """Some runs of a period."""

    runs: list[RunInfo]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()


class ArtifactInfo(msgspec.Struct, rename="camel"):
    """A stored artifact. `produced_by` is the session of the run that made it, null where no events
    tell; `dirty` whether its files were not all committed, null where the client did not say."""

    size_bytes: int
    duration_ms: float | None
    created_at: str
    last_used_at: str
    sha: str | None
    dirty_hash: str | None
    dirty: bool | None
    produced_by: str | None


class TaskInfo(msgspec.Struct, rename="camel"):
    """A task of a run. `outcome`: local_hit, remote_hit or miss. `duration_ms`: how long it takes
    to run, as its hit or its artifact tells. `artifact` is null when it is not stored now."""

    hash: str
    outcome: str
    duration_ms: float | None
    time_saved_ms: int
    artifact: ArtifactInfo | None


class RunDetail(msgspec.Struct, rename="camel"):
    """A run and its tasks: misses first, then those that saved most."""

    run: RunInfo
    tasks: list[TaskInfo]
    next_cursor: str | None


class Hits(msgspec.Struct):
    """Tasks that found an artifact, by where."""

    local: int
    remote: int


class StoredArtifact(ArtifactInfo, rename="camel"):
    """An artifact that is stored, and its use in a period. `sender` uploaded it."""

    hash: str
    sender: Client
    hits: Hits
    time_saved_ms: int


class ArtifactPage(msgspec.Struct, rename="camel"):
    """Some artifacts; hits are of the period."""

    artifacts: list[StoredArtifact]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()


class ArtifactUse(msgspec.Struct, rename="camel"):
    """A run's task that wanted an artifact, at its last event."""

    session_id: str
    at: str
    outcome: str
    time_saved_ms: int
    sender: Client


class ArtifactDetail(msgspec.Struct, rename="camel"):
    """An artifact, null when it is not stored (any more), and the runs that wanted it in the
    period, the last first."""

    hash: str
    artifact: StoredArtifact | None
    uses: list[ArtifactUse]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()


def hit_rate(tasks: int, hits: int) -> float | None:
    """Hits of tasks; None of none."""
    return hits / tasks if tasks else None
