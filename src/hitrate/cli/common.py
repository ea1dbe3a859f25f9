"""What commands share: options, the database, and how data is shown."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from hitrate.accounts.model import Team
from hitrate.accounts.store import AccountStore
from hitrate.clock import Clock
from hitrate.config import OPTIONS, Option, Settings, load_settings
from hitrate.data_folder import make_private
from hitrate.database import open_database
from hitrate.errors import NotFound

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "json_output", is_flag=True, help="Print JSON.")


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Options for these settings (all when none are named) and `--config`, given to the command
    as one argument `settings`."""
    chosen = [option for option in OPTIONS if not names or option.name in names]

    def decorate(command: Command) -> Command:
        def run(config: Path | None, **arguments: Any) -> Any:
            given = {option.name: arguments.pop(option.name) for option in chosen}
            return command(settings=load_settings(given, config), **arguments)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # reason: click keeps them there
        decorated: Any = click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="TOML file with settings. [env: HITRATE_CONFIG; default: hitrate.toml, if any]",
        )(run)
        for option in reversed(chosen):
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


@contextmanager
def accounts(settings: Settings) -> Iterator[AccountStore]:
    """Teams and tokens of the data folder, whether or not a server runs."""
    make_private(settings.data_dir)
    engine = open_database(settings.data_dir)
    try:
        yield AccountStore(engine, Clock())
    finally:
        engine.dispose()


def find_team(store: AccountStore, slug: str) -> Team:
    """The team with this slug. Raises NotFound that names the ones there are."""
    team = store.team(slug=slug)
    if team is None:
        known = ", ".join(t.slug for t in store.teams()) or "none yet"
        raise NotFound(
            f"There is no team {slug!r} (teams: {known}); `hitrate team create` adds one."
        )
    return team


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output; plain where it is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    # Whoever reads a pipe or a file wants every value whole.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    console.print(table)


def size_text(size_bytes: float) -> str:
    """`1.5 MB` for 1500000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
