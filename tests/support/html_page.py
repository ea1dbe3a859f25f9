"""Reads pages as text: what stands where, by id, and tables by their columns."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

_VOID = {"br", "hr", "img", "input", "link", "meta"}


class Reading:
    """One page."""

    def __init__(self, html: str) -> None:
        reader = _Reader()
        reader.feed(html)
        reader.close()
        self._root = reader.tree.close()

    def text(self, name: str) -> str:
        """What stands in the element of this id."""
        return text_of(self.element(name))

    def element(self, name: str) -> Element:
        """The element of this id."""
        [found] = self._root.iterfind(f".//*[@id='{name}']")
        return found

    def all(self, path: str) -> list[Element]:
        """Elements by an XPath."""
        return self._root.findall(path)

    def table(self, name: str) -> list[Row]:
        """The rows of the table in the region of this label, or labelled by this id."""
        regions = [
            one
            for one in self._root.iterfind(".//div[@role='region']")
            if name in (one.get("aria-label"), one.get("aria-labelledby"))
        ]
        [table] = regions[0].iterfind("table")
        columns = [text_of(cell) for cell in table.findall("thead/tr")[-1]]
        rows = []
        for row in table.iterfind("tbody/tr"):
            links = [link.get("href", "") for link in row.iterfind(".//a")]
            cells = [text_of(cell) for cell in row]
            rows.append(Row(dict(zip(columns, cells, strict=True)), links))
        return rows


@dataclass(frozen=True)
class Row:
    """Cells by the names of their columns, and where the row leads."""

    cells: dict[str, str]
    links: list[str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def text_of(element: Element) -> str:
    """All text in it, with single spaces."""
    return " ".join("".join(element.itertext()).split())


class _Reader(HTMLParser):
    """Builds a tree; raises AssertionError for tags that are not closed as they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = TreeBuilder()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        if tag in _VOID:
            self.tree.end(tag)
        else:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        self.tree.end(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        self.tree.end(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tree.data(data)
