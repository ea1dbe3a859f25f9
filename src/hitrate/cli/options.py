"""Options shared by commands: target server, period, filters and `--json`.

This module imports the client's libraries only.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.cli.remote import ServerTarget

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]


def _combine(options: tuple[Option, ...], adapt: Callable[[Command], Command]) -> Option:
    """Return one decorator that adds options; `adapt` turns their values into one argument."""

    def decorate(command: Command) -> Any:
        decorated: Any = adapt(command)
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _with_target(command: Command) -> Command:
    @functools.wraps(command)
    def run(
        api: str | None,
        team: str | None,
        data_dir: str | None,
        config: Path | None,
        **others: Any,
    ) -> Any:
        return command(target=ServerTarget(api, team, data_dir, config), **others)

    return run  # type: ignore[return-value]  # reason: click calls it, with its own arguments


target_options = _combine(
    (
        click.option(
            "--team",
            metavar="SLUG",
            help="Slug of the team; not needed with a team token. [env: TURBO_TEAM, or "
            "TURBO_TEAMID with the team's id]",
        ),
        click.option(
            "--api",
            metavar="URL",
            help="URL of the server. The token is always read from TURBO_TOKEN. [env: TURBO_API]",
        ),
        click.option(
            "--data-dir",
            metavar="DIRECTORY",
            help="Instead of --api: query the server on this data directory as its operator. "
            "[env: HITRATE_DATA_DIR; default: data]",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="TOML file that sets the data directory. [env: HITRATE_CONFIG; default: "
            "hitrate.toml, if it exists]",
        ),
    ),
    _with_target,
)
"""Options that select server and team, passed to the command as `target: ServerTarget`."""


def since_option(default: str | None, described_default: str = "") -> Option:
    """Return the option `--since`. `described_default`: the API's default, if `default` is None."""
    return click.option(
        "--since",
        metavar="TIME",
        default=default,
        help="Start of the period: an ISO 8601 time, or how long ago, such as 7d. "
        f"[default: {default or described_default}]",
    )


until_option = click.option(
    "--until", metavar="TIME", help="End of the period, in the same formats. [default: now]"
)


def _reject_secret(_context: object, _option: object, text: str | None) -> str | None:
    if text is not None and text.startswith("hr_"):
        raise click.BadParameter(
            "this is a secret, and other users can see command lines; pass the token's id "
            "(tok_…), or 'current'."
        )
    return text


def _with_filters(command: Command) -> Command:
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


filter_options = _combine(
    (
        click.option(
            "--ci", metavar="NAME", help="Only runs in this CI system; 'any' or 'none' also work."
        ),
        click.option(
            "--interactive",
            type=click.Choice(["true", "false", "any", "none"]),
            help="Only runs in an interactive terminal, or not in one; 'any': known; 'none': "
            "unknown.",
        ),
        click.option(
            "--agent",
            metavar="NAME",
            help="Only runs of this coding agent; 'any' or 'none' also work.",
        ),
        click.option(
            "--token",
            metavar="ID",
            callback=_reject_secret,
            help="Only runs of the token with this id; 'current': the token in use.",
        ),
    ),
    _with_filters,
)
"""Options that select runs, passed to the command as `filters`."""

json_option = click.option("--json", "json_output", is_flag=True, help="Print JSON.")
