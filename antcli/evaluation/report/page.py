"""Pieces of HTML, and the page that holds them. All text that comes in is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from antcli.artifacts import replacing

STYLE = Path(__file__).with_name("style.css")


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole document: `sections` are their headings, and their content as HTML."""
    named = [(f"part-{number}", *section) for number, section in enumerate(sections, 1)]
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _ in named)
    parts = [
        f'<section id="{name}">\n<h2>{escape(head)}</h2>\n{body}\n</section>'
        for name, head, body in named
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            f"<header>\n<h1>{escape(title)}</h1>\n<nav><ul>{links}</ul></nav>\n</header>",
            "<main>",
            *parts,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def write_page(path: Path, text: str) -> None:
    """Write a document. Raises `AntError` if that fails."""
    with replacing(path) as temporary:
        # Bytes of a file's name that are no UTF-8 become question marks.
        temporary.write_text(text, encoding="utf-8", errors="replace")


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """Something to type, as it is."""
    return f"<pre><code>{escape(text)}</code></pre>"


def bullets(items: Iterable[str], kind: str) -> str:
    """A list of plain texts; nothing where there are none."""
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="{kind}">{lines}</ul>' if lines else ""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts; the first cell of a row names it. Too wide, it scrolls alone."""
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    # The caption stands outside: within, it would be as wide as the table and scroll away.
    return (
        f"{paragraph(caption, 'caption')}\n"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>\n'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>\n</div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, under each other."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in pairs)
    return f"<dl>{lines}</dl>"


def folded(summary: str, body: str) -> str:
    """HTML that is there when somebody wants it."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def figure(images: str, caption: str) -> str:
    """Images (as HTML) over a caption."""
    return (
        f'<figure><div class="images">{images}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def gallery(figures: Iterable[str], kind: str) -> str:
    """Figures beside each other, as many as there is room for."""
    return f'<div class="gallery {kind}">\n' + "\n".join(figures) + "\n</div>"
