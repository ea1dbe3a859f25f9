"""The documentation: settings, links, line lengths and installation instructions."""

import re
from pathlib import Path

import pytest

from hitrate.config import OPTIONS, Option

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]
TEMPLATES = [*ROOT.glob("src/**/*.html")]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
MAX_README_LINES = 120


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_configuration_page_lists_each_setting_with_its_default(option: Option) -> None:
    default = f"`{option.default}`" if option.default else ""
    row = f"| `{option.flag}` | `{option.env}` | {default} |"
    assert row.replace("|  |", "| |") in CONFIGURATION


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_between_pages_lead_to_existing_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", target.read_text())
            anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_outside_tables_have_at_most_100_columns(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATES], ids=page_name)
def test_no_page_installs_hitrate_from_a_public_index(page: Path) -> None:
    assert not re.search(r"pip install (-\S+ )*['\"]?hitrate\b(?!-)", page.read_text())


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES
