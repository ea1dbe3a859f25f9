"""Options of commands that use a data directory, and access to its database."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hitrate.auth.accounts import AccountStore
from hitrate.clock import Clock
from hitrate.config import OPTIONS, Option, Settings, load_settings
from hitrate.datadir import ensure_private_dir
from hitrate.db.engine import open_database
from hitrate.errors import BadRequest, ConfigError, NotFound
from hitrate.roles import Role
from hitrate.teams.models import Team
from hitrate.teams.settings import MAX_COUNT

Command = TypeVar("Command", bound=Callable[..., Any])

role_option = click.option(
    "--role",
    type=click.Choice([role.value for role in Role], case_sensitive=False),
    default=Role.DEVELOPER.value,
    show_default=True,
    help="Role in the team.",
)


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Add options for settings (all by default) and `--config`, passed as `settings`."""
    selected = [option for option in OPTIONS if not names or option.name in names]

    def decorate(command: Command) -> Command:
        def run(config: Path | None, **arguments: Any) -> Any:
            values = {option.name: arguments.pop(option.name) for option in selected}
            return command(settings=load_settings(values, config), **arguments)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # reason: click stores them there
        decorated: Any = click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="TOML file with settings. [env: HITRATE_CONFIG; default: hitrate.toml, if it "
            "exists]",
        )(run)
        for option in reversed(selected):
            decorated = _click_option(option)(decorated)
        return decorated  # type: ignore[no-any-return]  # reason: click's decorators are untyped

    return decorate


def _click_option(option: Option) -> Callable[[Any], Any]:
    default = f"; default: {option.default}" if option.default else ""
    return click.option(
        option.flag,
        option.name,
        metavar="VALUE",
        help=f"{option.help} [env: {option.env}{default}]",
    )


data_dir_option = settings_options("data_dir")


def check_data_dir_exists(settings: Settings) -> None:
    """Raise ConfigError if the data directory does not exist, for commands that create none."""
    if not settings.data_dir.is_dir():
        raise ConfigError(
            f"The data directory {settings.data_dir} does not exist. Change to the directory in "
            "which the server was started, or pass --data-dir."
        )


@contextmanager
def accounts(settings: Settings, *, create: bool = False) -> Iterator[AccountStore]:
    """Open the accounts of a data directory, whether or not a server runs.

    Raises ConfigError if the directory does not exist and `create` is False.
    """
    if not create:
        check_data_dir_exists(settings)
    ensure_private_dir(settings.data_dir)
    engine = open_database(settings.data_dir)
    try:
        yield AccountStore(engine, Clock())
    finally:
        engine.dispose()


def count_or_none(text: str, option: str) -> int | None:
    """Parse a whole number, or 'none' as None. Raises BadRequest that names the option."""
    if text.lower() == "none":
        return None
    if not re.fullmatch(r"\d{1,20}", text) or int(text) > MAX_COUNT:
        raise BadRequest(
            f"{option} is {text[:40]!r}; it takes a whole number from 0 to {MAX_COUNT}, or 'none'."
        )
    return int(text)


def find_team(store: AccountStore, slug: str) -> Team:
    """Return the team with this slug. Raises NotFound that lists the existing ones."""
    team = store.teams.find(slug=slug)
    if team is None:
        slugs = ", ".join(each.slug for each in store.teams.all()) or "none yet"
        raise NotFound(
            f"There is no team {slug!r} (teams: {slugs}); `hitrate team create` adds one."
        )
    return team
