"""One self-contained page out of sections: as HTML with curves drawn in it, or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from flops.cli.output import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 200, 56, 24, 12
SPARKS: Final = "▁▂▃▄▅▆▇█"
STYLE: Final = """
:root { color-scheme: light dark; --line: #0b6bcb; --rule: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .75rem .25rem 0;
border-bottom: 1px solid var(--rule); vertical-align: top; overflow-wrap: anywhere; }
pre { padding: .75rem; border: 1px solid var(--rule); overflow-x: auto; } svg { max-width: 100%; height: auto; }
svg path { fill: none; stroke: var(--line); stroke-width: 2; } svg circle { fill: var(--line); }
svg text { font-size: 11px; fill: currentColor; } svg line { stroke: var(--rule); }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below column names; without names, the first cell of each row is one."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Code:
    """A text as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Values per round; rounds without one are left out."""

    name: str
    points: Sequence[tuple[int, float]]


Block = str | Table | Code | Curve


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: Sequence[Block]


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """The page in Markdown; a curve becomes a line of block characters."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts += [f"## {section.title}", *(_markdown(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def as_html(title: str, sections: Sequence[Section]) -> str:
    """The page in HTML; it loads nothing and runs nothing."""
    body = "\n".join(
        f"<section><h2>{escape(section.title)}</h2>\n{chr(10).join(map(_html, section.blocks))}</section>"
        for section in sections
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def _markdown(block: Block) -> str:
    match block:
        case Table(columns, rows):
            head = [f"| {' | '.join(columns or ['', ''])} |", f"|{'---|' * len(columns or ['', ''])}"]
            return "\n".join([*head, *(f"| {' | '.join(map(_plain, row))} |" for row in rows)])
        case Code(text):
            fence = "```"
            while fence in text:
                fence += "`"
            return f"{fence}\n{visible(text).rstrip()}\n{fence}"
        case Curve(name, points):
            return f"{name}: `{_sparks([value for _, value in points])}`"
        case _:
            return _plain(block)


def _plain(text: str) -> str:
    """A text of which Markdown makes nothing else."""
    marked = "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in visible(text))
    return marked.replace("\n", " ")


def _sparks(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    steps = len(SPARKS) - 1
    return "".join(SPARKS[round((value - low) / (high - low) * steps) if high > low else steps] for value in values)


def _html(block: Block) -> str:
    match block:
        case Table(columns, rows):
            head = "".join(f"<th>{escape(name)}</th>" for name in columns)
            body = "\n".join(
                "<tr>" + "".join(_cell(cell, is_name=not (columns or at)) for at, cell in enumerate(row)) + "</tr>"
                for row in rows
            )
            return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>\n{body}\n</tbody></table>"
        case Code(text):
            return f"<pre>{escape(visible(text))}</pre>"
        case Curve(name, points):
            return f"<h3>{escape(name)}</h3>\n{_svg(name, points)}"
        case _:
            return f"<p>{escape(visible(block))}</p>"


def _cell(text: str, *, is_name: bool) -> str:
    tag = "th" if is_name else "td"
    return f"<{tag}>{escape(visible(text))}</{tag}>"


def _svg(name: str, points: Sequence[tuple[int, float]]) -> str:
    first, last = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    across, up = (WIDTH - LEFT - 12) / max(last - first, 1), (HEIGHT - BOTTOM - TOP) / ((high - low) or 1.0)
    placed = [(LEFT + (at - first) * across, HEIGHT - BOTTOM - (value - low) * up) for at, value in points]
    path = " ".join(f"{'L' if number else 'M'}{x:.1f},{y:.1f}" for number, (x, y) in enumerate(placed))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>round {at}: {value:.4g}</title></circle>'
        for (x, y), (at, value) in zip(placed, points, strict=True)
    )
    base = HEIGHT - BOTTOM
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(name)}">'
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 12}" y2="{base}"/>'
        f'<line x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{base}"/>'
        f'<text x="4" y="{TOP + 8}">{high:.4g}</text><text x="4" y="{base}">{low:.4g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">round {first}</text>'
        f'<text x="{WIDTH - 12}" y="{HEIGHT - 6}" text-anchor="end">round {last}</text>'
        f'<path d="{path}"/>{dots}</svg>'
    )
