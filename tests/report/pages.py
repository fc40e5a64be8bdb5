"""A page, taken apart: what the tests ask of its structure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

HOSTILE = "<script>alert('name')</script>"
VOID = {"meta", "link", "img", "source", "br", "hr", "rect", "circle", "path"}


@dataclass
class Element:
    """An element with its attributes, its children and the text below it."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    def find(self, *names: str) -> list[Element]:
        """All elements of these names below, in order."""
        found = []
        for child in self.children:
            if child.name in names:
                found.append(child)
            found += child.find(*names)
        return found

    def all(self) -> list[Element]:
        """All elements below, in order."""
        return [found for child in self.children for found in [child, *child.all()]]

    @property
    def text(self) -> str:
        """The text below, with single blanks."""
        return " ".join(" ".join(self.pieces).split())


class Reader(HTMLParser):
    """Builds the tree and refuses what does not nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} repeats an attribute"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open[-1].name, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.pieces.append(data)


def parse(html: str) -> Element:
    """The tree of a page; every element is closed where it should be."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def section(page: Element, id_: str) -> Element:
    """A part of a page."""
    (found,) = [part for part in page.find("section") if part.attributes["id"] == id_]
    return found


def rows(table: Element) -> list[list[str]]:
    """The text of a table's body."""
    (body,) = table.find("tbody")
    return [[cell.text for cell in row.find("th", "td")] for row in body.find("tr")]
