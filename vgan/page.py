"""Pages that are whole in themselves: style, security policy, and the pieces that every page is put together from.

No script, no style sheet, font or picture from elsewhere: films and pictures are inside a page as data, and its
security policy forbids everything else. Whatever comes from outside goes through `escaped`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from math import ceil

STYLE = """
:root{color-scheme:light dark;--ink:#1d1f24;--soft:#5d6470;--line:#d9dde3;--back:#fff;--card:#f5f6f8;--mark:#0b63c5}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a0a7b4;--line:#373c45;--back:#16181c;--card:#202329;
--mark:#6cb0ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1.5rem 1rem 4rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{max-width:46rem;margin:.5rem 0}.soft{color:var(--soft);font-size:.9rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1rem}
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem}
figure{margin:0;padding:.6rem;background:var(--card);border-radius:.5rem}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.3rem;overflow-wrap:anywhere}
video,img{width:100%;height:auto;display:block;image-rendering:pixelated;border-radius:.25rem;background:#000}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
vertical-align:top}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:11rem}
.words th,.words td{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:7rem}
thead th{color:var(--soft);font-size:.85rem;font-weight:600}
td small{display:block;color:var(--soft);line-height:1.35}
td.best{font-weight:700}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0;font-size:.92rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.8rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:10px}
polyline{fill:none;stroke:var(--mark);stroke-width:1.5}rect{fill:var(--mark)}.axis{fill:none;stroke:var(--line)}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"

PLOT_WIDTH, PLOT_HEIGHT = 320, 120
LEFT, TOP, RIGHT, BOTTOM = 44, 8, 6, 18  # margins of a plot
LETTER = 6  # width of a digit in a plot


def document(title: str, kind: str, body: str) -> str:
    """A whole page.

    Args:
        title: plain text, the heading and the name of the window.
        kind: plain text above the heading, such as "Contents of a dataset".
        body: HTML.
    """
    name = escaped(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{name}</title><style>{STYLE}</style></head><body>"
        f'<p class="soft">{escaped(kind)}</p><h1>{name}</h1>{body}</body></html>\n'
    )


def escaped(text: object) -> str:
    r"""`text` to be put between tags or into an attribute: markup and control characters are shown, not obeyed."""
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return html.escape(plain)


def film(mp4: bytes, caption: str) -> str:
    """A clip that plays in a loop; the caption is plain text."""
    return (
        f'<figure><video autoplay loop muted playsinline src="data:video/mp4;base64,{_base64(mp4)}"></video>'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def picture(png: bytes, alt: str, caption: str) -> str:
    """A picture; both texts are plain."""
    return (
        f'<figure><img alt="{escaped(alt)}" src="data:image/png;base64,{_base64(png)}">'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def facts(pairs: Mapping[str, object]) -> str:
    """Names and what they are, one a line, all plain text."""
    return f"<dl>{''.join(f'<dt>{escaped(key)}</dt><dd>{escaped(value)}</dd>' for key, value in pairs.items())}</dl>"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, words: bool = False) -> str:
    """A table of plain text; figures stand to the right, `words` to the left and broken over lines."""
    head = "".join(f"<th>{escaped(text)}</th>" for text in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def plot(title: str, drawing: str, *, top: str, bottom: str, left: str = "", right: str = "") -> str:
    """A small plot: axes, and a drawing of SVG elements between them.

    Args:
        title: plain text.
        drawing: SVG, in the PLOT_WIDTH x PLOT_HEIGHT frame within its margins.
        top: plain text at the upper end of the vertical axis; `bottom` at its lower end.
        left: plain text at the left end of the horizontal axis; `right` at its right end.
    """
    floor, name = PLOT_HEIGHT - BOTTOM, escaped(title)
    words = ((LEFT - 4, TOP + 8, "end", top), (LEFT - 4, floor, "end", bottom), (LEFT, PLOT_HEIGHT - 4, "start", left))
    words += ((PLOT_WIDTH - RIGHT, PLOT_HEIGHT - 4, "end", right),)
    texts = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escaped(text)}</text>' for x, y, anchor, text in words if text
    )
    return (
        f'<figure><svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" role="img" aria-label="{name}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{PLOT_WIDTH - RIGHT}"/>{texts}{drawing}</svg>'
        f"<figcaption>{name}</figcaption></figure>"
    )


def bars(title: str, starts: Sequence[str], counts: Sequence[int]) -> str:
    """A histogram: one bar a count, below it where its bin starts; empty bins at both ends are not drawn."""
    filled = [place for place, count in enumerate(counts) if count] or [0]
    starts, counts = starts[filled[0] : filled[-1] + 1], counts[filled[0] : filled[-1] + 1]
    floor, most = PLOT_HEIGHT - BOTTOM, max(1, *counts)
    step = (PLOT_WIDTH - LEFT - RIGHT) / len(counts)
    every = ceil((max(map(len, starts)) + 1) * LETTER / step)
    drawing: list[str] = []
    for place, (start, count) in enumerate(zip(starts, counts, strict=True)):
        x, tall = LEFT + place * step, (floor - TOP) * count / most
        if count:
            size = f'width="{max(1.0, step - 2):.1f}" height="{max(1.0, tall):.1f}"'
            drawing.append(f'<rect x="{x + 1:.1f}" y="{floor - max(1.0, tall):.1f}" {size}/>')
        if place % every == 0:
            drawing.append(f'<text x="{x:.1f}" y="{PLOT_HEIGHT - 4}" text-anchor="start">{escaped(start)}</text>')
    return plot(title, "".join(drawing), top=f"{most:,}", bottom="0")
