"""Parses HTML pages: text by element id, and tables by their column headers."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

_VOID_TAGS = {"br", "hr", "img", "input", "link", "meta"}


class HtmlPage:
    """A parsed page. Raises AssertionError if its tags are not properly nested."""

    def __init__(self, html: str) -> None:
        parser = _TreeParser()
        parser.feed(html)
        parser.close()
        self._root = parser.tree.close()

    def text(self, element_id: str) -> str:
        """Return the text of an element."""
        return text_of(self.element(element_id))

    def element(self, element_id: str) -> Element:
        [element] = self._root.iterfind(f".//*[@id='{element_id}']")
        return element

    def find_all(self, path: str) -> list[Element]:
        """Find elements by an XPath."""
        return self._root.findall(path)

    def table(self, label: str) -> list[Row]:
        """Return the rows of the table in the region with this label or label id."""
        region = next(
            element
            for element in self._root.iterfind(".//div[@role='region']")
            if label in (element.get("aria-label"), element.get("aria-labelledby"))
        )
        [table] = region.iterfind("table")
        columns = [text_of(cell) for cell in table.findall("thead/tr")[-1]]
        rows = []
        for row in table.iterfind("tbody/tr"):
            links = [link.get("href", "") for link in row.iterfind(".//a")]
            cells = [text_of(cell) for cell in row]
            rows.append(Row(dict(zip(columns, cells, strict=True)), links))
        return rows


@dataclass(frozen=True)
class Row:
    """The text of a row's cells by column header, and the targets of its links."""

    cells: dict[str, str]
    links: list[str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def text_of(element: Element) -> str:
    """Return all text in an element, with single spaces."""
    return " ".join("".join(element.itertext()).split())


class _TreeParser(HTMLParser):
    """Builds an element tree; raises AssertionError for an end tag that does not match."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = TreeBuilder()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        if tag in _VOID_TAGS:
            self.tree.end(tag)
        else:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        self.tree.end(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> has no start tag"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> does not match <{opened}>"
        self.tree.end(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tree.data(data)
