"""Pages that are whole in themselves: style, security policy, and the pieces that every page is put together from.

No script, no style sheet, font or picture from elsewhere: films and pictures are inside a page as data, and its
security policy forbids everything else. Whatever comes from outside goes through `escaped`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from math import ceil

# Text keeps a contrast of 4.5:1 to what it stands on, and lines of 3:1; a test computes them.
LIGHT = {
    "ink": "#1d1f24",
    "soft": "#565d69",
    "line": "#d5dae1",
    "back": "#ffffff",
    "card": "#f4f5f8",
    "mark": "#0b63c5",
    "warm": "#b3470b",
    "good": "#1b7344",
    "bad": "#b3261e",
}
DARK = {
    "ink": "#e8eaee",
    "soft": "#a6adb9",
    "line": "#3b414b",
    "back": "#16181c",
    "card": "#202329",
    "mark": "#6cb0ff",
    "warm": "#ffb057",
    "good": "#6fd39a",
    "bad": "#ff9188",
}


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())


STYLE = f"""
:root{{color-scheme:light dark;{_variables(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
html{{scroll-padding-top:1rem}}
body{{margin:0 auto;max-width:70rem;padding:1.5rem 1rem 4rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}}
h1{{font-size:1.6rem;line-height:1.2;margin:.2rem 0 1rem;overflow-wrap:anywhere}}
h2{{font-size:1.2rem;margin:2.6rem 0 .6rem}}
h3{{font-size:1rem;margin:1.6rem 0 .5rem}}
p{{max-width:46rem;margin:.5rem 0}}.soft{{color:var(--soft);font-size:.9rem}}
a{{color:var(--mark)}}
nav{{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem;margin:.8rem 0 1.2rem}}
.pair{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:1rem}}
.films{{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem}}
.films.wide{{grid-template-columns:repeat(auto-fill,minmax(min(100%,16rem),1fr))}}
figure{{margin:0;padding:.6rem;background:var(--card);border-radius:.5rem;min-width:0}}
figure.broad{{max-width:46rem}}
figcaption{{color:var(--soft);font-size:.85rem;margin-top:.3rem;overflow-wrap:anywhere}}
figcaption b{{color:var(--ink);font-weight:600}}figcaption p{{margin:.2rem 0 0}}
video,img{{width:100%;height:auto;display:block;image-rendering:pixelated;border-radius:.25rem;background:#000}}
.times{{display:flex;font-size:.75rem;color:var(--soft);text-align:center}}.times span{{flex:1}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}}
th,td{{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
vertical-align:top}}
th:first-child{{text-align:left;white-space:normal;min-width:9rem}}
@media (min-width:50rem){{th:first-child{{min-width:14rem}}.words th{{min-width:7rem}}}}
tbody th{{font-weight:400}}
.words th,.words td{{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:7rem}}
thead th{{color:var(--soft);font-size:.85rem;font-weight:600;vertical-align:bottom;white-space:normal}}
th small,td small{{display:block;color:var(--soft);line-height:1.35}}
td b{{font-weight:700}}
dl{{display:grid;grid-template-columns:fit-content(10rem) 1fr;gap:.15rem 1rem;margin:0;font-size:.92rem}}
dt{{color:var(--soft)}}dd{{margin:0;overflow-wrap:anywhere}}
details{{margin:.6rem 0;border-bottom:1px solid var(--line);padding-bottom:.6rem}}
summary{{cursor:pointer;font-weight:600}}details>:not(summary){{margin-top:.6rem}}
.verdict{{border-left:.35rem solid var(--soft);background:var(--card);padding:.8rem 1rem;border-radius:.3rem}}
.verdict.good{{border-color:var(--good)}}.verdict.bad{{border-color:var(--bad)}}.verdict.warm{{border-color:var(--warm)}}
.verdict+.verdict{{margin-top:.8rem}}
.verdict>b{{font-size:1.1rem}}.failed b{{color:var(--bad)}}.verdict ul{{margin:.4rem 0 0;padding-left:1.2rem}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.8rem;margin:1rem 0}}
.tiles>div{{background:var(--card);border-radius:.5rem;padding:.7rem .9rem}}
.tiles b{{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums}}
.tiles span{{color:var(--soft);font-size:.85rem;display:block;line-height:1.35}}
.gauges{{list-style:none;margin:0;padding:0;display:grid;
grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem}}
.gauges li{{background:var(--card);border-radius:.5rem;padding:.7rem .9rem;min-width:0}}
.gauges .head{{display:flex;justify-content:space-between;gap:1rem;align-items:baseline}}
.gauges p{{margin:.2rem 0 0;font-size:.85rem;color:var(--soft);line-height:1.4}}
.gauges .head b{{font-weight:600}}
.gauges .said{{color:var(--ink)}}.gauges .head span{{font-variant-numeric:tabular-nums;white-space:nowrap}}
.plots{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:.8rem}}
svg{{width:100%;height:auto;display:block}}svg text{{fill:var(--soft);font-size:10px}}
svg.gauge{{height:3.1rem;overflow:visible}}svg.gauge text{{font-size:12px}}
.track{{stroke:var(--line);stroke-width:8;stroke-linecap:round}}.tick{{stroke:var(--soft);stroke-width:2}}
.range{{stroke:var(--mark);stroke-width:8;stroke-linecap:round;opacity:.45}}.dot{{fill:var(--mark)}}
.real{{stroke:var(--good);stroke-width:3}}.worst{{stroke:var(--bad);stroke-width:3}}
polyline{{fill:none;stroke:var(--mark);stroke-width:1.5;stroke-linejoin:round}}
polyline.raw{{opacity:.35;stroke-width:1}}
.s1{{stroke:var(--warm)}}.s2{{stroke:var(--good)}}.s3{{stroke:var(--bad)}}
.level{{stroke:var(--soft);stroke-dasharray:3 3}}
.key{{display:inline-block;width:1.1em;border-top:3px solid var(--mark);vertical-align:middle;margin-right:.3em}}
.key.s1{{border-color:var(--warm)}}.key.s2{{border-color:var(--good)}}.key.s3{{border-color:var(--bad)}}
rect{{fill:var(--mark)}}.axis{{fill:none;stroke:var(--line)}}
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
        f'<header><p class="soft">{escaped(kind)}</p><h1>{name}</h1></header><main>{body}</main></body></html>\n'
    )


def escaped(text: object) -> str:
    r"""`text` to be put between tags or into an attribute: markup and control characters are shown, not obeyed."""
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return html.escape(plain)


def section(name: str, title: str, body: str) -> str:
    """A part of a page under a heading, "" when there is nothing in it; `name` is what a link leads to."""
    return f'<section id="{escaped(name)}"><h2>{escaped(title)}</h2>{body}</section>' if body else ""


def folded(title: str, body: str) -> str:
    """A part that opens when its title is clicked."""
    return f"<details><summary>{escaped(title)}</summary>{body}</details>"


def film(mp4: bytes, caption: str, *, label: str = "", controls: bool = False) -> str:
    """A clip that plays in a loop; texts are plain.

    Args:
        mp4: H.264.
        caption: below it.
        label: what is to be seen, for those who do not see it; the caption when there is none.
        controls: let the reader stop it.
    """
    asked = "controls autoplay" if controls else "autoplay"
    return (
        f'<figure><video {asked} loop muted playsinline aria-label="{escaped(label or caption)}" '
        f'src="data:video/mp4;base64,{_base64(mp4)}"></video><figcaption>{escaped(caption)}</figcaption></figure>'
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
    """A table of plain text, the first cell of a row its heading.

    Figures stand to the right, `words` to the left and broken over lines.
    """
    lines = [(row[0], row[1:]) for row in rows]
    return html_table(headings, [(escaped(name), [escaped(cell) for cell in cells]) for name, cells in lines], words)


def html_table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], words: bool = False) -> str:
    """As `table`, but the rows are HTML: (heading, cells). Wide ones scroll by themselves, also by keyboard."""
    head = "".join(f'<th scope="col">{escaped(text)}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, cells in rows
    )
    kind = ' class="words"' if words else ""
    whole = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{whole}</div>'


def plot(title: str, drawing: str, *, top: str, bottom: str, left: str = "", right: str = "", note: str = "") -> str:
    """A small plot: axes, and a drawing of SVG elements between them.

    Args:
        title: plain text.
        drawing: SVG, in the PLOT_WIDTH x PLOT_HEIGHT frame within its margins.
        top: plain text at the upper end of the vertical axis; `bottom` at its lower end.
        left: plain text at the left end of the horizontal axis; `right` at its right end.
        note: HTML below the title.
    """
    floor, name = PLOT_HEIGHT - BOTTOM, escaped(title)
    words = ((LEFT - 4, TOP + 8, "end", top), (LEFT - 4, floor, "end", bottom), (LEFT, PLOT_HEIGHT - 4, "start", left))
    words += ((PLOT_WIDTH - RIGHT, PLOT_HEIGHT - 4, "end", right),)
    texts = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escaped(text)}</text>' for x, y, anchor, text in words if text
    )
    heading = f"<b>{name}</b>{note}" if note else name
    return (
        f'<figure><svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" role="img" aria-label="{name}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{PLOT_WIDTH - RIGHT}"/>{texts}{drawing}</svg>'
        f"<figcaption>{heading}</figcaption></figure>"
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
