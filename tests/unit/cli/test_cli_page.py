"""docs/cli.md has the current help text of every command."""

from tests.support.cli_page import COMMAND, PAGE, cli_page


def test_command_reference_matches_the_help_texts() -> None:
    assert PAGE.read_text() == cli_page(), f"run {COMMAND}"


def test_no_line_of_the_command_reference_is_longer_than_100_columns() -> None:
    assert max(map(len, PAGE.read_text().splitlines())) <= 100
