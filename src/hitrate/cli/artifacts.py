"""`hitrate artifacts`: list stored artifacts and their hits."""

import click

from hitrate.api_schemas import ArtifactPage, StoredArtifact
from hitrate.cli.options import json_option, since_option, target_options, until_option
from hitrate.cli.output import print_json, print_table, print_text
from hitrate.cli.remote import ServerTarget
from hitrate.cli.run_text import client_text, optional_duration_text, time_text
from hitrate.units import format_compact_duration, format_count, format_size


@click.command()
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"]),
    default="newest",
    show_default=True,
    help="Sort by age, size, last use (recent or idle first), or hits in the period.",
)
@click.option("--unused", is_flag=True, help="Only artifacts without a hit in the period.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Maximum number of artifacts.",
)
@since_option(None, "30d")
@until_option
@json_option
@target_options
def artifacts(
    target: ServerTarget,
    order: str,
    unused: bool,
    limit: int,
    since: str | None,
    until: str | None,
    json_output: bool,
) -> None:
    """List stored artifacts with their hits and time saved in a period."""
    query = {"order": order, "unused": unused or None, "since": since, "until": until}
    with target.open() as api:
        response = api.get_all("/v1/artifacts", ArtifactPage, "artifacts", limit, query)
    page = response.data
    if json_output:
        print_json(response.json)
        return
    if not page.artifacts:
        print_text(
            "No unused artifacts: all of them were hit in the period."
            if unused
            else "No artifacts are stored. A task that misses the cache uploads its artifact."
        )
        return
    print_table(
        (
            "Hash",
            "Size",
            "Duration",
            "Local",
            "Remote",
            "Saved",
            "Created (UTC)",
            "Last used",
            "By",
        ),
        [_row(artifact) for artifact in page.artifacts],
        numbers=("Size", "Duration", "Local", "Remote", "Saved"),
    )
    if page.next_cursor is not None:
        click.echo(
            f"Showing {format_count(len(page.artifacts), 'artifact')}; use --limit for more.",
            err=True,
        )


def _row(artifact: StoredArtifact) -> tuple[object, ...]:
    return (
        artifact.hash,
        format_size(artifact.size_bytes),
        optional_duration_text(artifact.duration_ms),
        f"{artifact.hits.local:,}",
        f"{artifact.hits.remote:,}",
        format_compact_duration(artifact.time_saved_ms) if artifact.time_saved_ms else "",
        time_text(artifact.created_at),
        time_text(artifact.last_used_at),
        client_text(artifact.sender),
    )
