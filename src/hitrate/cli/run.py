"""`hitrate run`: one run and its tasks."""

from urllib.parse import quote

import click

from hitrate.api_schemas import ArtifactInfo, RunDetail, TaskInfo
from hitrate.cli.options import json_option, place_options
from hitrate.cli.output import (
    Failed,
    plain,
    print_json,
    print_table,
    print_text,
    rate_text,
    size_text,
    span_text,
)
from hitrate.cli.remote import Place
from hitrate.cli.run_text import client_text, headline, optional_duration_text, time_text

OUTCOMES = {"local_hit": "local hit", "remote_hit": "remote hit", "miss": "miss"}
_COMMIT_SHOWN = 12


def run_path(session: str) -> str:
    """The address of a run. Raises Failed for what cannot be one's session."""
    if not session.strip("./"):  # it would be taken for a step in the path
        raise Failed(f"{session!r} is the session of no run.")
    return f"/v1/runs/{quote(session, safe='')}"


@click.command()
@click.argument("session")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True,
              help="Tasks at most.")  # fmt: skip
@json_option
@place_options
def run(place: Place, session: str, limit: int, json_output: bool) -> None:
    """Show the run SESSION and its tasks: misses first, then what saved most.

    `hitrate runs` lists sessions. A task is known by its hash, which turbo prints beside its name.
    """
    with place.open() as api:
        answer = api.get_all(run_path(session), RunDetail, "tasks", limit, {"fresh": True})
    if json_output:
        print_json(answer.json)
        return
    found = answer.shown
    _print_run(found)
    print_table(
        ("Hash", "Outcome", "Takes", "Saved", "Size", "Commit", "Made by"),
        [_row(task) for task in found.tasks],
        numbers=("Takes", "Saved", "Size"),
    )
    if found.next_cursor is not None:
        click.echo(
            f"These are {len(found.tasks):,} of {found.run.tasks:,} tasks; --limit shows more.",
            err=True,
        )


def _print_run(found: RunDetail) -> None:
    run = found.run
    print_text(
        f"Run {plain(run.session_id)}, {time_text(run.started_at)} to "
        f"{time_text(run.ended_at)} UTC, by {plain(client_text(run.sender))}"
    )
    print_text(
        f"{headline(run)}; hit rate {rate_text(run.hit_rate)}: {run.local_hits:,} local, "
        f"{run.remote_hits:,} remote, {run.misses:,} missed\n"
    )


def _row(task: TaskInfo) -> tuple[object, ...]:
    artifact = task.artifact
    return (
        task.hash,
        OUTCOMES.get(task.outcome, task.outcome),
        optional_duration_text(task.duration_ms),
        span_text(task.time_saved_ms) if task.time_saved_ms else "",
        size_text(artifact.size_bytes) if artifact else "",
        _commit_text(artifact),
        artifact.produced_by if artifact else "",
    )


def _commit_text(artifact: ArtifactInfo | None) -> str:
    """Return `5f5f5f5f5f5f`, with a `+` if the artifact's inputs had uncommitted changes."""
    if artifact is None or not artifact.sha:
        return ""
    return artifact.sha[:_COMMIT_SHOWN] + ("+" if artifact.dirty else "")
