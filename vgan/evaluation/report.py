"""report.html: one page, whole in itself, that shows what was trained and how well it does.

In the order in which a person asks: is it good, what does it look like, how far is it from real, how did training go,
what exactly was run. No script, and nothing from elsewhere; all text from outside is escaped.

Shapes: N clips, T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ..page import document, escaped, facts, folded, section, table
from ..records import Dataset, Evaluation, Metric, TrainedRun, Verdict
from .curves import curves_html
from .glossary import CONTROLS, figure, named, worst_control
from .previews import Preview
from .report_figures import metrics_html, probes_html
from .report_films import Films, nearest_html, pair_html, training_html

UInt8 = NDArray[np.uint8]
OUTCOMES = {
    "promoted": ("good", "Promoted to champion"),
    "forced": ("warm", "Promoted to champion by force, against the gate"),
    "registered": ("warm", "Registered, not promoted"),
    "refused": ("bad", "Refused: not registered"),
}
BEGIN, END = "<!--verdict-->", "<!--/verdict-->"  # no text from outside can hold them: it is escaped
PARTS = {
    "films": "Real and generated",
    "seeds": "The same seeds while training",
    "nearest": "Nearest training clips",
    "metrics": "How far from real",
    "probes": "Exact probes",
    "curves": "Training",
    "details": "What was run",
}


def report_html(
    run: TrainedRun,
    dataset: Dataset,
    evaluation: Evaluation,
    real_NTHWC: UInt8,
    fake_NTHWC: UInt8,
    curves: Sequence[Mapping[str, object]] = (),
    nearest: Sequence[tuple[UInt8, UInt8, float]] = (),
    previews: Sequence[Preview] = (),
    verdict: Verdict | None = None,
) -> str:
    """The page.

    Args:
        run: what was trained.
        dataset: the version it was evaluated on.
        evaluation: its figures.
        real_NTHWC: held-out clips to show, uint8.
        fake_NTHWC: generated clips to show, uint8, of the same classes in the same order.
        curves: lines of metrics.jsonl, and of other numbers against clips seen.
        nearest: some generated clips [T, H, W, 3] with the training clip that each is nearest to, and that distance
            over the distance of held-out clips to theirs.
        previews: how the same seeds looked while training, in order.
        verdict: what the gate said; None before it was asked. `with_verdict` puts it in later.
    """
    films = Films(run, dataset.config.fps, evaluation.config.seed)
    bodies = {
        "films": pair_html(films, real_NTHWC, fake_NTHWC),
        "seeds": training_html(films, previews),
        "nearest": nearest_html(films, nearest),
        "metrics": metrics_html(evaluation),
        "probes": probes_html(evaluation),
        "curves": curves_html(curves),
        "details": _details_html(run, dataset, evaluation),
    }
    links = "".join(f'<a href="#{name}">{escaped(PARTS[name])}</a>' for name, body in bodies.items() if body)
    parts = "".join(section(name, PARTS[name], body) for name, body in bodies.items())
    top = f"{_verdict_html(verdict)}{_warnings_html(run)}<p>{escaped(summary(evaluation))}</p>{_tiles_html(evaluation)}"
    body = f'{top}<nav aria-label="On this page">{links}</nav>{parts}'
    title = run.run if run.run.startswith(f"{dataset.name}-") else f"{dataset.name} · {run.run}"
    return document(title, "Evaluation of a generated-video model", body)


def with_verdict(page: str, verdict: Verdict) -> str:
    """A report with this verdict in place of the one that it held; needs neither clips nor the generator.

    Raises:
        ValueError: the page is no report of this version.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("this page has no place for a verdict")
    return f"{before}{_verdict_html(verdict)}{after}"


def _verdict_html(verdict: Verdict | None) -> str:
    """What the gate said and why, between the marks by which `with_verdict` finds it again."""
    if verdict is None:
        body = '<div class="verdict"><b>Not judged yet</b><p>It has not been compared with a champion.</p></div>'
        return f"{BEGIN}{body}{END}"
    kind, said = OUTCOMES[verdict.outcome]
    items = "".join(
        f'<li class="{"passed" if check.passed else "failed"}"><b>{"Passed" if check.passed else "Failed"}:</b> '
        f"{escaped(check.said)}</li>"
        for check in verdict.checks
    )
    rival = "" if verdict.rival is None else f"<p>Compared with the champion of run {escaped(verdict.rival)}.</p>"
    return f'{BEGIN}<div class="verdict {kind}"><b>{said}</b>{rival}<ul>{items}</ul></div>{END}'


def _warnings_html(run: TrainedRun) -> str:
    if not run.warnings:
        return ""
    items = "".join(f"<li>{escaped(warning)}</li>" for warning in run.warnings)
    return f'<div class="verdict bad"><b>Warnings of training</b><ul>{items}</ul></div>'


def summary(evaluation: Evaluation) -> str:
    """The result in a few sentences."""
    main = evaluation.metric(evaluation.primary)
    worst = worst_control(main)
    spoilt = "" if worst is None else f"; real clips spoilt on purpose ({CONTROLS.get(worst, worst)}) have "
    spoilt += "" if worst is None else figure(main.controls[worst])
    sentences = [
        f"{named(main.name)[0]} {figure(main.value)} on {evaluation.heldout_clips:,} held-out clips, where real clips "
        f"reach {figure(main.floor)} against each other{spoilt} ({main.better} is better)."
    ]
    if not evaluation.finite:
        sentences.append("Its samples are not finite.")
    if (told := _find(evaluation, "classifier")) is not None:
        sentences.append(
            f"A trained classifier tells generated from real clips {told.value:.0%} of the time; guessing gives 50%."
        )
    if (copied := _find(evaluation, "memorisation")) is not None:
        sentences.append(
            f"Generated clips are {figure(copied.value)} times as far from their nearest training clip as held-out "
            "clips are."
        )
    sentences.append(f"They have {evaluation.diversity:.0%} of the variety of real clips.")
    return " ".join(sentences)


def _tiles_html(evaluation: Evaluation) -> str:
    """The figures that most people ask for, large."""
    main = evaluation.metric(evaluation.primary)
    title = named(main.name)[0]
    tiles = [("no score" if main.score is None else f"{main.score:.2f}", f"score of the {title}: 0 real, 1 spoilt")]
    if (told := _find(evaluation, "classifier")) is not None:
        tiles.append((f"{told.value:.0%}", "told from real clips by a classifier: 50% is guessing, 100% always"))
    if (copied := _find(evaluation, "memorisation")) is not None:
        tiles.append((figure(copied.value), "distance to training clips: 1 as held-out clips, 0 copies"))
    tiles.append((f"{evaluation.diversity:.0%}", "variety of generated clips, of that of real ones; 0 collapsed"))
    shown = "".join(f"<div><b>{escaped(value)}</b><span>{escaped(meaning)}</span></div>" for value, meaning in tiles)
    return f'<div class="tiles">{shown}</div>'


def _find(evaluation: Evaluation, name: str) -> Metric | None:
    return next((metric for metric in evaluation.metrics if metric.name == name), None)


def _details_html(run: TrainedRun, dataset: Dataset, evaluation: Evaluation) -> str:
    """What was run, in words, and every setting of the three stages."""
    settings = {
        "Settings of training": run.config,
        "Settings of evaluation": evaluation.config,
        "Settings of ingestion": dataset.config,
    }
    return facts(_facts(run, dataset, evaluation)) + "".join(
        folded(title, table(("Setting", "Value", "Meaning"), _settings(config), words=True))
        for title, config in settings.items()
    )


def _facts(run: TrainedRun, dataset: Dataset, evaluation: Evaluation) -> dict[str, object]:
    config = dataset.config
    pairs: dict[str, object] = {
        "Run": run.run,
        "Model": f"{run.generator.family}, preset {run.config.preset}",
        "Trained for": f"{run.clips:,} clips in {run.steps:,} steps, {run.seconds:,.0f} s on {run.device}",
        "Budget": f"{run.config.budget}, seed {run.config.seed}",
        "Weights": run.generator.weights_sha256,
        "Code": f"vgan {run.generator.vgan_version}, git {run.git_commit or 'unknown'}",
        "Dataset": f"{dataset.name}, version {dataset.number}, {dataset.videos:,} videos ({dataset.rejections:,} more "
        f"rejected), {dataset.clips('train'):,} clips for training and {dataset.clips('heldout'):,} held out",
        "Clips": f"{config.frames} frames of {config.width} x {config.height} at {config.fps:g} per second",
        "Classes": ", ".join(dataset.labels) or "none",
        "Dataset version": evaluation.dataset_digest,
        "Protocol": evaluation.protocol,
        "Evaluation": f"{evaluation.generated_clips:,} generated and {evaluation.heldout_clips:,} held-out clips, "
        f"{evaluation.config.bootstrap} half-samples that keep {evaluation.halves} whole, copies looked for among "
        f"{evaluation.training_clips:,} training clips, seed {evaluation.config.seed}",
    }
    if evaluation.timings:
        pairs["Evaluated in"] = f"{sum(evaluation.timings.values()):,.0f} s"
    if run.dataset_digest != evaluation.dataset_digest:
        pairs["Trained on"] = f"another version of the dataset: {run.dataset_digest}"
    if run.init is not None:
        pairs["Started from"] = f"{run.init.source}; {run.init.share:.0%} of the generator were taken over"
    if run.stopped == "indistinguishable":
        pairs["Ended early"] = "a test could no longer tell its clips from held-out ones"
    return pairs


def _settings(config: BaseModel) -> list[tuple[str, str, str]]:
    """Every field of a configuration with its value and meaning."""
    values = config.model_dump(mode="json")
    return [
        (name, "none" if values[name] is None else str(values[name]), field.description or "")
        for name, field in type(config).model_fields.items()
    ]
