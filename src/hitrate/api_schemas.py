"""Response schemas of the analytics API, shared by the server, its pages and the CLI.

Times are ISO 8601 in UTC. Durations and time saved are milliseconds. Rates are 0 to 1, and null
where there are no tasks. This module imports msgspec alone, so that the CLI works without the
server's libraries.
"""

import msgspec
from msgspec import field


class TimeSaved(msgspec.Struct):
    """Milliseconds saved by hits in the local and in the remote cache."""

    local: int
    remote: int


class Quartiles(msgspec.Struct):
    """Quartiles of the hit rates of runs; null where there are no runs."""

    p25: float | None
    p50: float | None
    p75: float | None


class Transfers(msgspec.Struct, rename="camel"):
    """Artifacts uploaded and downloaded in a period."""

    uploads: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0


class CacheTraffic(Transfers, rename="camel"):
    """Transfers in a period, and the number and size of all artifacts that are stored now."""

    stored_bytes: int = 0
    stored: int = 0


class TaskStats(msgspec.Struct, rename="camel"):
    """Statistics of the tasks of one or more runs.

    `events` counts recorded events. `duplicates` counts repeated events, which are among `events`,
    and re-sent events, which are not recorded again. `anomalies` counts events with an impossible
    duration.
    """

    tasks: int
    local_hits: int
    remote_hits: int
    misses: int
    hit_rate: float | None
    time_saved_ms: TimeSaved
    events: int
    duplicates: int
    anomalies: int

    @property
    def hits(self) -> int:
        """Tasks found in the local or the remote cache."""
        return self.local_hits + self.remote_hits

    @property
    def saved_ms(self) -> int:
        """Milliseconds saved by all hits."""
        return self.time_saved_ms.local + self.time_saved_ms.remote


class RunStats(TaskStats, rename="camel"):
    """Statistics of the runs that began in a period."""

    runs: int
    artifacts: Transfers


class PreviousPeriod(RunStats, rename="camel"):
    """Statistics of the period of equal length before the requested one."""

    from_: str = field(name="from")
    to: str = field()


class Summary(TaskStats, rename="camel"):
    """Statistics of a period, and of the period before it."""

    runs: int
    artifacts: CacheTraffic
    from_: str = field(name="from")
    to: str = field()
    previous: PreviousPeriod = field()


class Bucket(RunStats, rename="camel"):
    """One interval of a time series. The period may cut the first and the last short."""

    hit_rate_quartiles: Quartiles
    from_: str = field(name="from")
    to: str = field()


class Timeseries(msgspec.Struct, rename="camel"):
    """Statistics over time: every bucket of the period, including those without runs.

    Buckets begin at full hours, midnights, Mondays or first days of months in `timezone`.
    """

    bucket: str
    timezone: str
    buckets: list[Bucket]
    from_: str = field(name="from")
    to: str = field()


class Group(RunStats, rename="camel"):
    """Runs with the same value of a property.

    `key` is that value, or null for runs without one. `label` is a readable name for it.
    """

    key: str | None
    label: str
    hit_rate_quartiles: Quartiles


class Breakdown(msgspec.Struct, rename="camel"):
    """Statistics by a property of runs: up to 500 groups, by descending number of tasks."""

    by: str
    groups: list[Group]
    from_: str = field(name="from")
    to: str = field()


class Client(msgspec.Struct, rename="camel"):
    """The client that sent a request, and its token.

    `ci`, `interactive` and `agent` are what the client reported. `token_label` and `user` (an
    email address) are current.
    """

    ci: str | None
    interactive: bool | None
    agent: str | None
    token_id: str
    token_label: str | None
    user: str | None


class RunInfo(TaskStats, rename="camel"):
    """A run: all events of one session of a team. It starts with its first event."""

    session_id: str
    started_at: str
    ended_at: str
    sender: Client


class RunPage(msgspec.Struct, rename="camel"):
    """One page of the runs that began in a period."""

    runs: list[RunInfo]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()


class ArtifactInfo(msgspec.Struct, rename="camel"):
    """A stored artifact.

    `produced_by` is the session of the run that uploaded it, or null if no event identifies that
    run. `dirty` is whether its inputs had uncommitted changes, or null if unknown.
    """

    size_bytes: int
    duration_ms: float | None
    created_at: str
    last_used_at: str
    sha: str | None
    dirty_hash: str | None
    dirty: bool | None
    produced_by: str | None


class TaskInfo(msgspec.Struct, rename="camel"):
    """A task of a run.

    `outcome` is local_hit, remote_hit or miss. `duration_ms` is how long the task takes to run,
    from its hit or else from its artifact. `artifact` is null if it is not stored now.
    """

    hash: str
    outcome: str
    duration_ms: float | None
    time_saved_ms: int
    artifact: ArtifactInfo | None


class RunDetail(msgspec.Struct, rename="camel"):
    """A run and one page of its tasks: misses first, then hits by time saved."""

    run: RunInfo
    tasks: list[TaskInfo]
    next_cursor: str | None


class Hits(msgspec.Struct):
    """Tasks that found an artifact in the local and in the remote cache."""

    local: int
    remote: int


class StoredArtifact(ArtifactInfo, rename="camel"):
    """A stored artifact and its hits in a period. `sender` is the client that uploaded it."""

    hash: str
    sender: Client
    hits: Hits
    time_saved_ms: int


class ArtifactPage(msgspec.Struct, rename="camel"):
    """One page of the stored artifacts, with their hits in a period."""

    artifacts: list[StoredArtifact]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()


class ArtifactUse(msgspec.Struct, rename="camel"):
    """A task that requested an artifact. `at` is the time of its last event."""

    session_id: str
    at: str
    outcome: str
    time_saved_ms: int
    sender: Client


class ArtifactDetail(msgspec.Struct, rename="camel"):
    """An artifact, and one page of its uses in a period, newest first.

    `artifact` is null if it is not stored (any more).
    """

    hash: str
    artifact: StoredArtifact | None
    uses: list[ArtifactUse]
    next_cursor: str | None
    from_: str = field(name="from")
    to: str = field()
