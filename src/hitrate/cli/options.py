"""Options that commands on analytics share: target server, period and filters."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.cli.remote import ServerTarget

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]


def _combine(options: tuple[Option, ...], gather: Callable[[Command], Command]) -> Option:
    def decorate(command: Command) -> Any:
        decorated: Any = gather(command)
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
            help="Team. [env: TURBO_TEAM, or TURBO_TEAMID with its id; not needed with a team "
            "token]",
        ),
        click.option(
            "--api",
            metavar="URL",
            help="Server. The token is read from TURBO_TOKEN. [env: TURBO_API]",
        ),
        click.option(
            "--data-dir",
            metavar="DIRECTORY",
            help="Instead of --api: use the server on this data directory, as its operator. "
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
"""Options for server and team, passed to the command as `target`."""


def since_option(default: str | None, described_default: str = "") -> Option:
    """Return the option `--since`. Without a default, the API's default applies."""
    return click.option(
        "--since",
        metavar="TIME",
        default=default,
        help="Start of the period: ISO 8601, or a duration such as 7d. "
        f"[default: {default or described_default}]",
    )


until_option = click.option(
    "--until", metavar="TIME", help="End of the period, like --since. [default: now]"
)


def _token_id(_context: object, _option: object, text: str | None) -> str | None:
    if text is not None and text.startswith("hr_"):
        raise click.BadParameter(
            "this is a secret, and others can see the arguments; pass the token's id (tok_…), or "
            "'current'."
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
        click.option("--ci", metavar="NAME", help="Only runs in this CI; 'any' CI; or 'none'."),
        click.option(
            "--interactive",
            type=click.Choice(["true", "false", "any", "none"]),
            help="Only runs with an interactive terminal, or without; 'none': unknown.",
        ),
        click.option(
            "--agent",
            metavar="NAME",
            help="Only runs of this coding agent; 'any' agent; or 'none'.",
        ),
        click.option(
            "--token",
            metavar="ID",
            callback=_token_id,
            help="Only runs with this token id; 'current': the token in use.",
        ),
    ),
    _with_filters,
)
"""Options that select runs, passed to the command as `filters`."""

json_option = click.option("--json", "json_output", is_flag=True, help="Print the API's response.")
