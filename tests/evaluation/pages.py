"""A strict look at a page: well-formed as XML, nothing from elsewhere, alternative texts, tables without holes."""

import re
import xml.etree.ElementTree as ElementTree


def looked_at(path):
    """The page's tree, once it has been found sound."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    root = ElementTree.fromstring(text)
    assert root.find("head/title").text and root.find("body/main/h1").text
    known = {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "div", "p", "section", "table", "caption", "thead", "tbody",
        "tr", "th", "td", "strong", "button", "figure", "figcaption", "img", "script",
    }  # fmt: skip
    assert {e.tag for e in root.iter()} <= known
    for image in root.iter("img"):
        assert image.get("src").startswith("data:image/svg+xml;base64,") and len(image.get("alt")) > 20
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text) and "url(" not in root.find("head/style").text and "@import" not in text
    for table in root.iter("table"):
        width = len(table.findall("thead/tr/th"))
        rows = table.findall("tbody/tr")
        assert width and rows and all(len(row) == width for row in rows)
    return root


def words_of(root):
    """All that can be read on it."""
    return " ".join("".join(root.find("body/main").itertext()).split())
