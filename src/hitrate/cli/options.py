"""The options that the commands on analytics share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.cli.remote import Place

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]


def _together(options: tuple[Option, ...], gather: Callable[[Command], Command]) -> Option:
    def decorate(command: Command) -> Any:
        decorated: Any = gather(command)
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _gather_place(command: Command) -> Command:
    @functools.wraps(command)
    def run(
        api: str | None,
        team: str | None,
        data_dir: str | None,
        config: Path | None,
        **others: Any,
    ) -> Any:
        return command(place=Place(api, team, data_dir, config), **others)

    return run  # type: ignore[return-value]  # reason: click calls it, with its own arguments


place_options = _together(
    (
        click.option(
            "--team",
            metavar="SLUG",
            help="The team. [env: TURBO_TEAM, or TURBO_TEAMID with its id; a team's own token "
            "needs none]",
        ),
        click.option(
            "--api",
            metavar="URL",
            help="The server; the token is read from TURBO_TOKEN. [env: TURBO_API]",
        ),
        click.option(
            "--data-dir",
            metavar="FOLDER",
            help="Instead of --api: ask the server that runs on this folder, as its operator. "
            "[env: HITRATE_DATA_DIR; default: data]",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="TOML file that names the data folder. [env: HITRATE_CONFIG; default: "
            "hitrate.toml, if any]",
        ),
    ),
    _gather_place,
)
"""Which server, and which team: given to the command as `place`."""


def since_option(default: str | None, told: str = "") -> Option:
    """`--since`; the API has a default of its own."""
    return click.option(
        "--since",
        metavar="TIME",
        default=default,
        help=f"ISO 8601, or a duration such as 7d. [default: {default or told}]",
    )


until_option = click.option("--until", metavar="TIME", help="As --since. [default: now]")


def _token_id(_context: object, _option: object, text: str | None) -> str | None:
    if text is not None and text.startswith("hr_"):
        raise click.BadParameter(
            "that is a secret, which others can see among the arguments; give the token's id "
            "(tok_…), or 'current'."
        )
    return text


def _gather_filters(command: Command) -> Command:
    @functools.wraps(command)
    def run(
        ci: str | None,
        interactive: str | None,
        agent: str | None,
        token: str | None,
        **others: Any,
    ) -> Any:
        filters = {"ci": ci, "interactive": interactive, "agent": agent, "token": token}
        return command(filters=filters, **others)

    return run  # type: ignore[return-value]  # reason: click calls it, with its own arguments


filter_options = _together(
    (
        click.option("--ci", metavar="NAME", help="Only runs in this CI; 'any', or 'none'."),
        click.option(
            "--interactive",
            type=click.Choice(["true", "false", "any", "none"]),
            help="Only runs that a person watched, or not; 'none' for those that did not say.",
        ),
        click.option("--agent", metavar="NAME", help="Only runs of this agent; 'any', or 'none'."),
        click.option(
            "--token",
            metavar="ID",
            callback=_token_id,
            help="Only runs with this token; 'current' for the one in use.",
        ),
    ),
    _gather_filters,
)
"""Which runs: given to the command as `filters`."""

json_option = click.option(
    "--json", "json_output", is_flag=True, help="Print the API's own answer."
)
