"""Generates docs/cli.md from the help texts of all commands.

.venv/bin/python -m tests.support.cli_page > docs/cli.md
"""

from collections.abc import Iterator
from pathlib import Path

import click

from hitrate.cli.main import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
COMMAND = ".venv/bin/python -m tests.support.cli_page > docs/cli.md"
_WIDTH = 98

_INTRODUCTION = """\
# Command reference

Every command with its arguments and options, as `--help` prints them. This page is generated:
`{command}`.

`serve`, `user`, `team`, `token`, `events`, `gc`, `doctor` and `demo` work on a data directory
(`--data-dir`); all but `demo` also work while its server runs. `stats`, `runs`, `run`, `artifacts`,
`report` and `export` also work anywhere else with turbo's variables `TURBO_API`, `TURBO_TOKEN` and
`TURBO_TEAM` or `TURBO_TEAMID`. Commands that print data accept `--json`.

Exit codes: 0 success, 1 failure with one line on standard error, 2 invalid usage, 3 a hit rate
below the threshold (`report`). `exec` exits with the code of the command that it runs.
"""


def cli_page() -> str:
    """Return the page: an introduction, then one section for each command."""
    sections = [_INTRODUCTION.format(command=COMMAND)]
    sections += [
        f"## {path}\n\n```text\n{text}\n```\n" for path, text in _help_texts("hitrate", cli)
    ]
    return "\n".join(sections)


def _help_texts(
    name: str, command: click.Command, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the path and the help text of a command and of all its subcommands."""
    context = click.Context(
        command,
        parent=parent,
        info_name=name,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from _help_texts(child_name, child, context)


if __name__ == "__main__":
    print(cli_page(), end="")
