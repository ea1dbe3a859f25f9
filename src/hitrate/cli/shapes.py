"""What commands show of the API's answers, and in which words. Times saved and spans are in ms."""

from msgspec import Struct, field

from hitrate.cli.output import rate_text, span_text


class Split(Struct):
    """Of local hits, and of remote ones."""

    local: int
    remote: int


class Counts(Struct, rename="camel"):
    """What the tasks of one run, or of many, came to."""

    tasks: int
    local_hits: int
    remote_hits: int
    misses: int
    hit_rate: float | None
    time_saved_ms: Split

    @property
    def hits(self) -> int:
        return self.local_hits + self.remote_hits

    @property
    def saved_ms(self) -> int:
        return self.time_saved_ms.local + self.time_saved_ms.remote


class Sender(Struct, rename="camel"):
    """Who ran it."""

    ci: str | None
    agent: str | None
    token_id: str
    token_label: str | None
    user: str | None


class Run(Counts, rename="camel"):
    """A run."""

    session_id: str
    started_at: str
    ended_at: str
    sender: Sender


class Made(Struct, rename="camel"):
    """A stored artifact."""

    size_bytes: int
    duration_ms: float | None
    created_at: str
    last_used_at: str
    sha: str | None
    dirty: bool | None
    produced_by: str | None


class Task(Struct, rename="camel"):
    """A task of a run; how long it takes is None where nobody said."""

    hash: str
    outcome: str
    duration_ms: float | None
    time_saved_ms: int
    artifact: Made | None


class RunDetail(Struct, rename="camel"):
    """A run and some of its tasks."""

    run: Run
    tasks: list[Task]
    next_cursor: str | None


class RunPage(Struct, rename="camel"):
    """Some runs of a period."""

    runs: list[Run]
    next_cursor: str | None
    since: str = field(name="from")
    until: str = field(name="to")


COUNTED = ("Tasks", "Hit rate", "Local", "Remote", "Missed", "Saved")
"""The columns of `counted`."""


def counted(counts: Counts) -> tuple[str, ...]:
    """Tasks, hit rate, hits, misses and time saved."""
    return (
        f"{counts.tasks:,}",
        rate_text(counts.hit_rate),
        f"{counts.local_hits:,}",
        f"{counts.remote_hits:,}",
        f"{counts.misses:,}",
        span_text(counts.saved_ms),
    )


def headline(counts: Counts) -> str:
    """`18 of 20 tasks from cache, 12m34s saved`."""
    if not counts.tasks:
        return "no tasks"
    tasks = "task" if counts.tasks == 1 else "tasks"
    saved = span_text(counts.saved_ms)
    return f"{counts.hits:,} of {counts.tasks:,} {tasks} from cache, {saved} saved"


def who(sender: Sender) -> str:
    """`GITHUB_ACTIONS, ci-token`."""
    named = sender.user or sender.token_label or sender.token_id
    return ", ".join(part for part in (sender.ci, sender.agent, named) if part)


def moment_text(iso: str | None) -> str:
    """`2026-11-21 20:33` for a time in ISO 8601 and UTC."""
    return "" if iso is None else iso[:16].replace("T", " ")


def span_or_nothing(span_ms: float | None) -> str:
    """How long something took, empty where nobody said."""
    return "" if span_ms is None else span_text(span_ms)


def no_runs(since: str, until: str, filters: dict[str, str | None]) -> str:
    """What to say of a period without runs, and what may help."""
    matching = " that these filters let through" if any(filters.values()) else ""
    return (
        f"No run{matching} began from {moment_text(since)} to {moment_text(until)} UTC. A run is "
        "there when its first events have come; --since looks further back."
    )
