"""docs/security.md, which is generated from the code."""

from pathlib import Path

from tests.support.security_page import COMMAND, render_page

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_security_page_is_up_to_date_with_the_code() -> None:
    assert PAGE.read_text() == render_page(), f"docs/security.md is out of date; run: {COMMAND}"
