"""docs/security.md says what the code does."""

from pathlib import Path

from tests.support.security_page import RENEW, printed

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_the_page_is_what_the_code_prints() -> None:
    assert PAGE.read_text() == printed(), f"docs/security.md is out of date; renew it: {RENEW}"
