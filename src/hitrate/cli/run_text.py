"""Text for runs, tasks and clients, shared by commands on analytics."""

from hitrate.api_schemas import Client, TaskStats
from hitrate.cli.output import rate_text
from hitrate.units import format_compact_duration, format_count

STATS_COLUMNS = ("Tasks", "Hit rate", "Local", "Remote", "Misses", "Saved")
"""Titles of the table columns that `stats_cells` fills."""


def stats_cells(stats: TaskStats) -> tuple[str, ...]:
    """Return tasks, hit rate, hits, misses and time saved as table cells."""
    return (
        f"{stats.tasks:,}",
        rate_text(stats.hit_rate),
        f"{stats.local_hits:,}",
        f"{stats.remote_hits:,}",
        f"{stats.misses:,}",
        format_compact_duration(stats.saved_ms),
    )


def headline(stats: TaskStats) -> str:
    """Return `18 of 20 tasks from cache, 12m34s saved`."""
    if not stats.tasks:
        return "no tasks"
    saved = format_compact_duration(stats.saved_ms)
    return f"{stats.hits:,} of {format_count(stats.tasks, 'task')} from cache, {saved} saved"


def client_text(client: Client) -> str:
    """Return `GITHUB_ACTIONS, ci-token`: CI, agent, and the user or token."""
    owner = client.user or client.token_label or client.token_id
    return ", ".join(part for part in (client.ci, client.agent, owner) if part)


def time_text(iso: str | None) -> str:
    """Return `2026-11-21 20:33` for an ISO 8601 time in UTC, or an empty text for None."""
    return "" if iso is None else iso[:16].replace("T", " ")


def optional_duration_text(duration_ms: float | None) -> str:
    """Return a duration as text, or an empty text if it is unknown."""
    return "" if duration_ms is None else format_compact_duration(duration_ms)


def no_runs_message(from_: str, to: str, filters: dict[str, str | None]) -> str:
    """Return the message for a period without runs."""
    matching = " that matches the filters" if any(filters.values()) else ""
    return (
        f"No run{matching} started from {time_text(from_)} to {time_text(to)} UTC. A run "
        "appears with its first event. Use --since to look further back."
    )
