"""`hitrate run`: show one run and its tasks."""

from urllib.parse import quote

import click

from hitrate.api_schemas import ArtifactInfo, RunDetail, TaskInfo
from hitrate.cli.options import json_option, target_options
from hitrate.cli.output import (
    CommandError,
    escape_control,
    print_json,
    print_table,
    print_text,
    rate_text,
)
from hitrate.cli.remote import ServerTarget
from hitrate.cli.run_text import client_text, headline, optional_duration_text, time_text
from hitrate.units import format_compact_duration, format_count, format_size

OUTCOMES = {"local_hit": "local hit", "remote_hit": "remote hit", "miss": "miss"}
_COMMIT_LENGTH = 12


def run_path(session: str) -> str:
    """Return the API path of a run. Raises CommandError for an impossible session."""
    if not session.strip("./"):  # such as `..`, which would change the path
        raise CommandError(f"There is no run with the session {session!r}.")
    return f"/v1/runs/{quote(session, safe='')}"


@click.command()
@click.argument("session")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True,
              help="Maximum number of tasks.")  # fmt: skip
@json_option
@target_options
def run(target: ServerTarget, session: str, limit: int, json_output: bool) -> None:
    """Show the run SESSION and its tasks: misses first, then by time saved.

    `hitrate runs` lists the sessions. turbo prints the hash of a task next to its name.
    """
    with target.open() as api:
        response = api.get_all(run_path(session), RunDetail, "tasks", limit, {"fresh": True})
    if json_output:
        print_json(response.json)
        return
    detail = response.data
    _print_run(detail)
    print_table(
        ("Hash", "Outcome", "Duration", "Saved", "Size", "Commit", "Produced by"),
        [_row(task) for task in detail.tasks],
        numbers=("Duration", "Saved", "Size"),
    )
    if detail.next_cursor is not None:
        tasks = format_count(detail.run.tasks, "task")
        click.echo(f"Showing {len(detail.tasks):,} of {tasks}; use --limit for more.", err=True)


def _print_run(detail: RunDetail) -> None:
    run = detail.run
    print_text(
        f"Run {escape_control(run.session_id)}, {time_text(run.started_at)} to "
        f"{time_text(run.ended_at)} UTC, by {escape_control(client_text(run.sender))}"
    )
    print_text(
        f"{headline(run)}; hit rate {rate_text(run.hit_rate)}: {run.local_hits:,} local, "
        f"{run.remote_hits:,} remote, {format_count(run.misses, 'miss')}\n"
    )


def _row(task: TaskInfo) -> tuple[object, ...]:
    artifact = task.artifact
    return (
        task.hash,
        OUTCOMES.get(task.outcome, task.outcome),
        optional_duration_text(task.duration_ms),
        format_compact_duration(task.time_saved_ms) if task.time_saved_ms else "",
        format_size(artifact.size_bytes) if artifact else "",
        _commit_text(artifact),
        artifact.produced_by if artifact else "",
    )


def _commit_text(artifact: ArtifactInfo | None) -> str:
    """Return `5f5f5f5f5f5f`, with a `+` if the artifact's inputs had uncommitted changes."""
    if artifact is None or not artifact.sha:
        return ""
    return artifact.sha[:_COMMIT_LENGTH] + ("+" if artifact.dirty else "")
