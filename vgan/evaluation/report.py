"""report.html: one page, whole in itself, that shows what was trained and how well it does.

No script, no style sheet, font or picture from elsewhere: films and pictures are inside the page
as data, and its security policy forbids everything else. All text from outside is escaped.

Shapes: N clips, T frames, H height, W width, C colours.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..media.encode import contact_sheet, mp4_bytes, png_bytes
from ..media.provenance import synthetic_metadata
from ..page import document, facts, film, picture
from ..records import Dataset, Evaluation, Metric, TrainedRun
from .curves import curves_html
from .glossary import CONTROLS, METRICS, PROBES, figure

UInt8 = NDArray[np.uint8]
COLUMNS = 4
TILE = 96  # pixels; smaller clips are enlarged by a whole factor
SHEET_CLIPS = 8


def report_html(
    run: TrainedRun,
    dataset: Dataset,
    evaluation: Evaluation,
    real_NTHWC: UInt8,
    fake_NTHWC: UInt8,
    curves: Sequence[Mapping[str, object]] = (),
    nearest: Sequence[tuple[UInt8, UInt8, float]] = (),
) -> str:
    """The page.

    Args:
        run: what was trained.
        dataset: the version it was evaluated on.
        evaluation: its figures.
        real_NTHWC: held-out clips to show, uint8.
        fake_NTHWC: generated clips to show, uint8, of the same classes in the same order.
        curves: lines of metrics.jsonl.
        nearest: some generated clips [T, H, W, 3] with the training clip that each is nearest to, and that distance
            over the distance of held-out clips to theirs.
    """
    drawn = curves_html(curves)
    sections = [
        _films(run, evaluation, real_NTHWC, fake_NTHWC, dataset.config.fps),
        _nearest(run, nearest, dataset.config.fps),
        _sheets(real_NTHWC, fake_NTHWC),
        _metrics(evaluation),
        _probes(evaluation),
        f"<h2>Training</h2>{drawn}" if drawn else "",
        f"<h2>What was run</h2>{_facts(run, dataset, evaluation)}",
    ]
    body = f"<p>{html.escape(summary(evaluation))}</p>{''.join(sections)}"
    return document(f"{dataset.name} · {run.run}", "Evaluation of a generated-video model", body)


def summary(evaluation: Evaluation) -> str:
    """The result in two sentences."""
    main = evaluation.metric(evaluation.primary)
    title = METRICS[main.name][0]
    state = "" if evaluation.finite else " Its samples are not finite."
    return (
        f"{title} {figure(main.value)} on {evaluation.heldout_clips} held-out clips, where real clips reach "
        f"{figure(main.floor)} against each other ({main.better} is better).{state} Generated clips have "
        f"{evaluation.diversity:.0%} of the variety of real ones."
    )


def mosaic(clips_NTHWC: UInt8, columns: int = COLUMNS) -> UInt8:
    """Many clips in one: uint8 [T, H', W', 3] with even sides, enlarged to tiles of about TILE pixels."""
    zoom = max(1, TILE // max(clips_NTHWC.shape[2:4]))
    clips = clips_NTHWC.repeat(zoom, axis=2).repeat(zoom, axis=3)
    clips = np.pad(clips, ((0, -len(clips) % columns), (0, 0), (2, 2), (2, 2), (0, 0)), constant_values=40)
    rows, (frames, height, width) = len(clips) // columns, clips.shape[1:4]
    grid = clips.reshape(rows, columns, frames, height, width, 3).transpose(2, 0, 3, 1, 4, 5)
    film = grid.reshape(frames, rows * height, columns * width, 3)
    even = film[:, : film.shape[1] // 2 * 2, : film.shape[2] // 2 * 2]
    return np.ascontiguousarray(even)


def _films(run: TrainedRun, evaluation: Evaluation, real_NTHWC: UInt8, fake_NTHWC: UInt8, fps: float) -> str:
    marks = synthetic_metadata(run.dataset, run.run, evaluation.config.seed)
    real = mp4_bytes(mosaic(real_NTHWC), fps)
    fake = mp4_bytes(mosaic(fake_NTHWC), fps, marks)
    return (
        "<h2>Real and generated</h2>"
        f'<div class="pair">{film(real, "Real, held out")}{film(fake, "Generated (synthetic)")}</div>'
        f"{_order(run)}"
    )


def _nearest(run: TrainedRun, pairs: Sequence[tuple[UInt8, UInt8, float]], fps: float) -> str:
    """Each generated clip beside the training clip that it is nearest to."""
    if not pairs:
        return ""
    marks = synthetic_metadata(run.dataset, run.run, 0)
    films = [
        film(
            mp4_bytes(mosaic(np.stack([fake_THWC, train_THWC]), columns=2), fps, marks),
            f"Left generated, right its nearest training clip: {figure(ratio)} times as far as held-out clips are.",
        )
        for fake_THWC, train_THWC, ratio in pairs
    ]
    return f'<h2>Nearest training clips</h2><div class="films">{"".join(films)}</div>'


def _order(run: TrainedRun) -> str:
    labels = run.generator.labels
    if not labels:
        return ""
    return f'<p class="soft">Sorted by class, from the top: {html.escape(", ".join(labels))}.</p>'


def _sheets(real_NTHWC: UInt8, fake_NTHWC: UInt8) -> str:
    pictures: list[str] = []
    for clips, caption in ((real_NTHWC, "Real, held out"), (fake_NTHWC, "Generated (synthetic)")):
        some = clips[np.unique(np.linspace(0, len(clips) - 1, min(SHEET_CLIPS, len(clips))).round().astype(int))]
        png, note = png_bytes(contact_sheet(some)), "each row is a clip, time runs to the right"
        pictures.append(picture(png, f"{caption}: frames of each clip from left to right", f"{caption}; {note}"))
    return f'<h2>Frame by frame</h2><div class="pair">{"".join(pictures)}</div>'


def _metrics(evaluation: Evaluation) -> str:
    controls = list(evaluation.metrics[0].controls) if evaluation.metrics else []
    heads = ["Generated", "95 % interval", "Real against real", *(CONTROLS.get(c, c) for c in controls)]
    count = evaluation.metrics[0].real_clips if evaluation.metrics else 0
    note = (
        f"Each figure compares {count} clips with {count} others. “Real against real” is the best that can be "
        "reached; the columns to its right are real clips spoilt on purpose: where they do no worse, a metric is blind."
    )
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    rows = "".join(_metric_row(metric, controls) for metric in evaluation.metrics)
    table = f"<table><thead><tr><th>Metric</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>Metrics</h2><p class="soft">{note}</p><div class="scroll">{table}</div>'


def _metric_row(metric: Metric, controls: list[str]) -> str:
    title, meaning = METRICS.get(metric.name, (metric.name, ""))
    cells = [f"{figure(metric.low)} to {figure(metric.high)}", figure(metric.floor)]
    cells += [figure(metric.controls[name]) if name in metric.controls else "" for name in controls]
    rest = "".join(f"<td>{cell}</td>" for cell in cells)
    return (
        f"<tr><td>{html.escape(title)} <small>{html.escape(meaning)} {metric.better.capitalize()} is better.</small>"
        f'</td><td class="best">{figure(metric.value)}</td>{rest}</tr>'
    )


def _probes(evaluation: Evaluation) -> str:
    if not evaluation.probes:
        return ""
    rows: list[str] = []
    for name, value in evaluation.probes.items():
        title, meaning = PROBES.get(name, (name, ""))
        real = evaluation.probes_real.get(name)
        rows.append(
            f"<tr><td>{html.escape(title)} <small>{html.escape(meaning)}</small></td>"
            f'<td class="best">{figure(value)}</td><td>{"" if real is None else figure(real)}</td></tr>'
        )
    return (
        '<h2>Exact probes</h2><p class="soft">The law of these data is known, so each property is measured from '
        'pixels, without any network.</p><div class="scroll"><table><thead><tr><th>Probe</th><th>Generated</th>'
        f"<th>Real</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _facts(run: TrainedRun, dataset: Dataset, evaluation: Evaluation) -> str:
    config = dataset.config
    pairs: dict[str, object] = {
        "Run": run.run,
        "Model": f"{run.generator.family}, preset {run.config.preset}",
        "Trained for": f"{run.clips:,} clips in {run.steps:,} steps, {run.seconds:,.0f} s on {run.device}",
        "Budget": f"{run.config.budget}, seed {run.config.seed}",
        "Weights": run.generator.weights_sha256,
        "Code": f"vgan {run.generator.vgan_version}, git {run.git_commit or 'unknown'}",
        "Dataset": f"{dataset.name}, {dataset.videos:,} videos, {dataset.clips('train'):,} clips for training and "
        f"{dataset.clips('heldout'):,} held out",
        "Clips": f"{config.frames} frames of {config.width} x {config.height} at {config.fps:g} per second",
        "Classes": ", ".join(dataset.labels) or "none",
        "Dataset version": evaluation.dataset_digest,
        "Protocol": evaluation.protocol,
        "Evaluation": f"{evaluation.generated_clips:,} generated and {evaluation.heldout_clips:,} held-out clips, "
        f"{evaluation.config.bootstrap} half-samples, seed {evaluation.config.seed}",
    }
    if run.init is not None:
        pairs["Started from"] = f"{run.init.source}; {run.init.share:.0%} of the generator were taken over"
    if run.stopped == "indistinguishable":
        pairs["Ended early"] = "a test could no longer tell its clips from held-out ones"
    if run.warnings:
        pairs["Warnings"] = "; ".join(run.warnings)
    return facts(pairs)
