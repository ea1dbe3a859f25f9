"""`hitrate artifacts`: what is stored, and how it is used."""

import click

from hitrate.api_schemas import ArtifactPage, StoredArtifact
from hitrate.cli.options import json_option, place_options, since_option, until_option
from hitrate.cli.output import print_json, print_table, print_text, size_text, span_text
from hitrate.cli.remote import Place
from hitrate.cli.run_text import client_text, optional_duration_text, time_text


@click.command()
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "largest", "smallest", "recent", "idle", "hits"]),
    default="newest",
    show_default=True,
    help="What comes first: by age, size, last use, or hits in the period.",
)
@click.option("--unused", is_flag=True, help="Only those without a hit in the period.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@since_option(None, "30d")
@until_option
@json_option
@place_options
def artifacts(
    place: Place,
    order: str,
    unused: bool,
    limit: int,
    since: str | None,
    until: str | None,
    json_output: bool,
) -> None:
    """List stored artifacts, with their hits in a period and the time that these saved."""
    query = {"order": order, "unused": unused or None, "since": since, "until": until}
    with place.open() as api:
        answer = api.get_all("/v1/artifacts", ArtifactPage, "artifacts", limit, query)
    page = answer.shown
    if json_output:
        print_json(answer.json)
        return
    if not page.artifacts:
        print_text(
            "Every stored artifact was hit in the period, or none is stored."
            if unused
            else "No artifacts are stored. A task that missed stores its own when it has run."
        )
        return
    print_table(
        ("Hash", "Size", "Takes", "Local", "Remote", "Saved", "Created (UTC)", "Last used", "By"),
        [_row(one) for one in page.artifacts],
        numbers=("Size", "Takes", "Local", "Remote", "Saved"),
    )
    if page.next_cursor is not None:
        click.echo(
            f"There are more than these {len(page.artifacts):,}; --limit shows more.", err=True
        )


def _row(one: StoredArtifact) -> tuple[object, ...]:
    return (
        one.hash,
        size_text(one.size_bytes),
        optional_duration_text(one.duration_ms),
        f"{one.hits.local:,}",
        f"{one.hits.remote:,}",
        span_text(one.time_saved_ms) if one.time_saved_ms else "",
        time_text(one.created_at),
        time_text(one.last_used_at),
        client_text(one.sender),
    )
