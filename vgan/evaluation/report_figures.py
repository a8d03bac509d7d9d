"""The figures of an evaluation in the report: how far from real at a glance, and the table behind it."""

from __future__ import annotations

from ..page import escaped, html_table
from ..records import Evaluation, Metric
from .glossary import CONTROLS, GROUPS, OTHERS, PROBES, figure, group_of, in_order, named, worst_control

START, END = 8.0, 88.0  # per cent of a gauge's width at which real clips and the worst control stand
LEAST, MOST = -0.08, 1.13  # scores that a gauge shows; what lies beyond is drawn at its end


def metrics_html(evaluation: Evaluation) -> str:
    """A gauge for each figure, in groups, and the table of all their numbers."""
    groups = {group: [m for m in evaluation.metrics if group_of(m.name) == group] for group in (*GROUPS, OTHERS)}
    shown = "".join(
        f'<h3>{escaped(group)}</h3><ul class="gauges">{"".join(_gauge_html(metric) for metric in metrics)}</ul>'
        for group, metrics in groups.items()
        if metrics
    )
    note = (
        "Each bar runs from real clips compared with other real clips (left, score 0) to real clips spoilt on purpose "
        "(right, score 1: the worst of them). The dot is what generated clips reach, with its 95 % interval; thin "
        "marks are the other spoilt clips. Left is good."
    )
    return f'<p class="soft">{note}</p>{shown}{_table_html(evaluation)}'


def _gauge_html(metric: Metric) -> str:
    title, meaning = named(metric.name)
    worst = worst_control(metric)
    score = "no score" if metric.score is None else f"score {metric.score:.2f}"
    numbers = f"{figure(metric.value)} ({figure(metric.low)} to {figure(metric.high)}), {metric.better} is better."
    numbers += " Worse than all spoilt clips." if metric.score is not None and metric.score > 1 else ""
    drawn = (
        _gauge_svg(metric, worst, title)
        if worst is not None
        else "<p>No spoilt clips do worse than real ones here, so the figure tells nothing on these data.</p>"
    )
    return (
        f'<li><div class="head"><b>{escaped(title)}</b><span>{score}</span></div>{drawn}'
        f'<p class="said">{numbers}</p><p>{escaped(meaning)}</p></li>'
    )


def _gauge_svg(metric: Metric, worst: str, title: str) -> str:
    """Floor, worst control, the other controls, interval and value, placed by their scores; widths are per cent."""
    scale = metric.controls[worst] - metric.floor

    def place(value: float) -> str:
        score = min(MOST, max(LEAST, (value - metric.floor) / scale))
        return f"{START + (END - START) * score:.2f}%"

    low, high = sorted((place(metric.low), place(metric.high)), key=lambda text: float(text[:-1]))
    ticks = "".join(
        f'<line class="tick" x1="{place(value)}" x2="{place(value)}" y1="11" y2="21">'
        f"<title>{escaped(CONTROLS.get(name, name))}: {figure(value)}</title></line>"
        for name, value in metric.controls.items()
        if name != worst
    )
    called = CONTROLS.get(worst, worst)
    said = (
        f"{title}: generated {figure(metric.value)}, from {figure(metric.low)} to {figure(metric.high)}; "
        f"real {figure(metric.floor)}; {called} {figure(metric.controls[worst])}"
    )
    real, bad = place(metric.floor), place(metric.controls[worst])
    return (
        f'<svg class="gauge" role="img" aria-label="{escaped(said)}">'
        f'<line class="track" x1="1.5%" x2="98.5%" y1="16" y2="16"/>{ticks}'
        f'<line class="range" x1="{low}" x2="{high}" y1="16" y2="16"/>'
        f'<line class="real" x1="{real}" x2="{real}" y1="6" y2="26"/>'
        f'<line class="worst" x1="{bad}" x2="{bad}" y1="6" y2="26"/>'
        f'<circle class="dot" cx="{place(metric.value)}" cy="16" r="6"/>'
        f'<text x="{START - 6}%" y="42">real {figure(metric.floor)}</text>'
        f'<text x="98.5%" y="42" text-anchor="end">{escaped(called)} {figure(metric.controls[worst])}</text></svg>'
    )


def _table_html(evaluation: Evaluation) -> str:
    """Every number of every figure."""
    if not evaluation.metrics:
        return ""
    controls = in_order(name for metric in evaluation.metrics for name in metric.controls)
    heads = ["Figure", "Generated", "95 % interval", "Real against real", "Score"]
    heads += [CONTROLS.get(name, name) for name in controls]
    rows = [(_named_html(metric), _cells(metric, controls)) for metric in evaluation.metrics]
    metric = evaluation.metrics[0]
    note = (
        f"Each figure compares {metric.real_clips:,} real with {metric.fake_clips:,} other clips, again and again with "
        "other halves of the held-out clips: the interval holds 95 % of those draws. “Real against real” is the best "
        "that can be reached; the columns behind the score are real clips spoilt on purpose, and training clips."
    )
    return f'<h3>All numbers</h3><p class="soft">{note}</p>{html_table([*heads, "Clips a side"], rows)}'


def _named_html(metric: Metric) -> str:
    return f"{escaped(named(metric.name)[0])} <small>{escaped(metric.name)}, {metric.better} is better</small>"


def _cells(metric: Metric, controls: list[str]) -> list[str]:
    cells = [f"<b>{figure(metric.value)}</b>", f"{figure(metric.low)} to {figure(metric.high)}", figure(metric.floor)]
    cells.append("none" if metric.score is None else f"{metric.score:.2f}")
    cells += [figure(metric.controls[name]) if name in metric.controls else "" for name in controls]
    return [*cells, f"{metric.fake_clips:,}"]


def probes_html(evaluation: Evaluation) -> str:
    """The exact probes of `shapes` data; "" for other data."""
    rows: list[tuple[str, list[str]]] = []
    for name, value in evaluation.probes.items():
        title, meaning = PROBES.get(name, (name, ""))
        real = evaluation.probes_real.get(name)
        heading = f"{escaped(title)} <small>{escaped(meaning)}</small>"
        rows.append((heading, [f"<b>{figure(value)}</b>", "" if real is None else figure(real)]))
    if not rows:
        return ""
    return (
        '<p class="soft">The law of these data is known, so each property is measured from pixels, without any '
        f"network.</p>{html_table(('Probe', 'Generated', 'Real'), rows)}"
    )
