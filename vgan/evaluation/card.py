"""The model card: what a registered model is, what it is for, and how far to trust it. Markdown."""

from __future__ import annotations

from ..records import Dataset, Evaluation, TrainedRun
from .glossary import CONTROLS, METRICS, PROBES, figure


def model_card(run: TrainedRun, dataset: Dataset, evaluation: Evaluation) -> str:
    """Markdown with data, intended use, limits, figures and the synthetic marking."""
    generator = run.generator
    classes = ", ".join(f"`{_plain(label)}`" for label in dataset.labels) or "none (unconditional)"
    return f"""# {dataset.name}: a generator of short video clips

A `{generator.family}` generative adversarial network ({run.config.preset} preset) that makes clips of
{generator.frames} frames, {generator.width} x {generator.height} pixels, at {generator.fps:g} frames per second.
Classes: {classes}. The same seed and class give the same clip.

## Training data
Dataset `{dataset.name}`, version `{run.dataset_digest}`: {dataset.videos:,} videos,
{dataset.clips("train"):,} clips for training and {dataset.clips("heldout"):,} held out, split by content so that copies
of a video lie on one side. Trained on {run.clips:,} clips in {run.seconds:,.0f} s on {_plain(run.device)}
(run `{run.run}`, seed {run.config.seed}, git {run.git_commit or "unknown"}, vgan {generator.vgan_version}).

## Intended use
Making clips like the training data: for research, tests, and augmentation where synthetic data may be used. Rights
in the training videos are the matter of whoever ingested them, and bind the use of this model.

## Limits
* It shows what its training data show, with their gaps and biases, and no more than their few pixels.
* It has not been checked for copies of training clips; the metrics below do not see them.
* The figures come from random, untrained features. They order models of one dataset version; they are not FVD and
  say little of what people see. Look at the samples.

## Figures
{evaluation.generated_clips:,} generated clips against {evaluation.heldout_clips:,} held-out ones, protocol
`{evaluation.protocol}`. "Real" is held-out clips against other held-out clips at the same counts; the controls are real
clips spoilt on purpose.

{_metrics(evaluation)}
{_probes(evaluation)}
Generated clips have {evaluation.diversity:.0%} of the variety of real ones.

## Synthetic content
Every mp4 that this model writes says in its metadata that it is synthetic and which model made it (IPTC
`digitalSourceType` `trainedAlgorithmicMedia`). Keep that mark when you publish clips; Article 50(2) of the EU AI Act
requires generated video to be marked in a machine-readable way.
"""


def _metrics(evaluation: Evaluation) -> str:
    rows = ["| Metric | Generated | 95 % interval | Real | Controls |", "|---|---|---|---|---|"]
    for metric in evaluation.metrics:
        title = METRICS.get(metric.name, (metric.name, ""))[0]
        controls = ", ".join(f"{CONTROLS.get(name, name)} {figure(value)}" for name, value in metric.controls.items())
        rows.append(
            f"| {title} ({metric.better} is better) | {figure(metric.value)} "
            f"| {figure(metric.low)} to {figure(metric.high)} | {figure(metric.floor)} | {controls} |"
        )
    return "\n".join(rows) + "\n"


def _probes(evaluation: Evaluation) -> str:
    if not evaluation.probes:
        return ""
    rows = ["| Exact probe | Generated | Real |", "|---|---|---|"]
    for name, value in evaluation.probes.items():
        title, meaning = PROBES.get(name, (name, ""))
        rows.append(f"| {title}: {meaning} | {figure(value)} | {figure(evaluation.probes_real.get(name, 0.0))} |")
    return "\n".join(rows) + "\n"


def _plain(text: str) -> str:
    """Text from outside as one line that Markdown and HTML take literally."""
    return "".join(c if c.isalnum() or c in " -_.,:+()" else "_" for c in text)
