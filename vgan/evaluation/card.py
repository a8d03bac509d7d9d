"""The model card: what a registered model is, what it is for, and how far to trust it. Markdown."""

from __future__ import annotations

from ..records import Dataset, Evaluation, TrainedRun, Verdict
from .gate import copying_below
from .glossary import CONTROLS, PROBES, figure, in_order, named, worst_control

OUTCOMES = {
    "promoted": "promoted to champion",
    "forced": "promoted to champion by force, against the gate",
    "registered": "registered, not promoted",
    "refused": "refused, not registered",
}


def model_card(
    run: TrainedRun, dataset: Dataset, evaluation: Evaluation, verdict: Verdict | None = None, model: str | None = None
) -> str:
    """Markdown with data, use, limits, figures, the check for copies, marking, rights, and how to call the model.

    Args:
        run: what was trained.
        dataset: the version it was evaluated on.
        evaluation: its figures.
        verdict: what the gate said; None before it was asked.
        model: its version in the registry, "NAME/VERSION"; "NAME" while it is made; None when it is in none.
    """
    generator = run.generator
    classes = ", ".join(f"`{_plain(label)}`" for label in dataset.labels) or "none (unconditional)"
    label = f'"{_plain(dataset.labels[0])}"' if dataset.labels else '""'
    warnings = "".join(f"* Training warned: {_plain(warning)}.\n" for warning in run.warnings)
    return f"""# {(model or dataset.name).partition("/")[0]}: a generator of short video clips

A generative adversarial network (`{generator.family}`, preset `{run.config.preset}`) that makes clips of
{generator.frames} frames, {generator.width} x {generator.height} pixels, at {generator.fps:g} frames per second.
Classes: {classes}. The same seed and class give the same clip on the same machine.

{_verdict(verdict)}
{_use(run, model, label)}
## Training data
Dataset `{dataset.name}`, version `{dataset.digest()}`{_other_version(run, dataset)}: {dataset.videos:,} videos,
{dataset.clips("train"):,} clips for training and {dataset.clips("heldout"):,} held out, split by content so that copies
of a video lie on one side. Trained on {run.clips:,} clips in {run.seconds:,.0f} s on {_plain(run.device)}
(run `{run.run}`, seed {run.config.seed}, git {run.git_commit or "unknown"}, vgan {generator.vgan_version}).

## Intended use
Making clips like the training data: for research, tests, and augmentation where synthetic data may be used. Not for
passing off generated clips as recordings, and not for clips of people who have not agreed to it.

## Limits
* It shows what its training data show, with their gaps and biases, and no more than their few pixels.
* Clips longer than {generator.frames} frames go beyond what it was trained and evaluated on.
* The figures below compare it with held-out clips of this dataset version only. Those in the random embedding order
  models of one dataset version; they are not FVD and say little of what people see. Look at the samples.
{warnings}
## How it was evaluated
{evaluation.generated_clips:,} generated clips against {evaluation.heldout_clips:,} held-out ones that training never
saw, seed {evaluation.config.seed}, protocol `{_plain(evaluation.protocol)}`. Each figure is averaged
over half-samples of the held-out clips; the interval holds 95 % of them. "Real" is held-out clips against other
held-out clips at the same counts, the best that can be reached. "Score" is 0 there and 1 at the worst of the controls,
which are real clips spoilt on purpose, and training clips ("{CONTROLS["copied"]}").

{_metrics(evaluation)}
{_probes(evaluation)}Generated clips have {evaluation.diversity:.0%} of the variety of real ones.

## Copies of training clips
{_memorisation(evaluation)}

## Synthetic content
Every mp4, mov, gif and png that `vgan sample` writes says that it is synthetic: by IPTC `digitalSourceType`
`trainedAlgorithmicMedia` in its metadata, with model, version, run and seed; by a C2PA manifest where a certificate is
at hand; and by an imperceptible watermark in the pixels of its frames. `vgan verify-media FILE` reads all three. Keep
them when you publish clips: Article 50(2) of the EU AI Act requires generated video to be marked in a machine-readable
way.

## Licence and rights
The weights were made from the videos of the dataset, and rights in those videos bind the use of the weights and of what
they make. `vgan inspect --name {dataset.name}` lists the licence and consent that was stated for each video; where it
says none, none was stated. No rights are granted by this card.
"""


def _use(run: TrainedRun, model: str | None, label: str) -> str:
    """How to call it: by what names it for good, since an alias moves on to other versions."""
    shape = run.generator
    if model is None:
        return f"""## How to use it
In the workspace that it was trained in, with the `vgan` command:

```sh
vgan sample --model {run.run} --num 4 --seed 7 --out clips
```

It is in no registry; `vgan register --run {run.run}` asks the gate whether it may be.
"""
    name, _, version = model.partition("/")
    which = f"\n`vgan models --name {name}` says which VERSION that is: the one of run `{run.run}`.\n"
    uri = f"models:/{name}/{version or 'VERSION'}"
    return f"""## How to use it
With the `vgan` command:

```sh
vgan sample --model {uri} --num 4 --seed 7 --out clips
```

or from Python, with MLflow's server in `MLFLOW_TRACKING_URI`; vgan itself is not needed, and nothing is unpickled:

```python
import mlflow, pandas
model = mlflow.pyfunc.load_model("{uri}")
asked = pandas.DataFrame({{"num_videos": [4]}})
clips = model.predict(asked, params={{"seed": 7, "label": {label}, "output": "array"}})
# uint8 [4, {shape.frames}, {shape.height}, {shape.width}, 3]; "output": "mp4" gives files instead
```
{"" if version else which}"""


def _other_version(run: TrainedRun, dataset: Dataset) -> str:
    if run.dataset_digest == dataset.digest():
        return ""
    return f" (the one evaluated on; trained on the version `{run.dataset_digest}`)"


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    said = OUTCOMES[verdict.outcome]
    checks = [f"* {'passed' if check.passed else 'failed'}: {_plain(check.said)}" for check in verdict.checks]
    return "\n".join([f"Verdict of the gate: **{said}**.", "", *checks, "", ""])


def _metrics(evaluation: Evaluation) -> str:
    rows = ["| Figure | Generated | 95 % interval | Real | Score | Controls |", "|---|---|---|---|---|---|"]
    meanings: list[str] = []
    for metric in evaluation.metrics:
        title, meaning = map(_plain, named(metric.name))
        controls = ", ".join(f"{_control(name)} {figure(metric.controls[name])}" for name in in_order(metric.controls))
        worst = worst_control(metric)
        score = "none" if worst is None else f"{metric.score:.2f} (1 is {_control(worst)})"
        rows.append(
            f"| {title} ({metric.better} is better) | {figure(metric.value)} "
            f"| {figure(metric.low)} to {figure(metric.high)} | {figure(metric.floor)} | {score} | {controls} |"
        )
        meanings.append(f"* **{title}** (`{_plain(metric.name)}`): {meaning}")
    return "\n".join([*rows, "", *meanings]) + "\n"


def _memorisation(evaluation: Evaluation) -> str:
    """What the check for copies found."""
    found = next((metric for metric in evaluation.metrics if metric.name == "memorisation"), None)
    if found is None:
        return "It has not been checked for copies of training clips; the figures above do not see them."
    said = "as near as copies would be" if found.value < copying_below(found) else "no sign of copied clips"
    copied = found.controls.get("copied")
    control = "" if copied is None else f", and {figure(copied)} for training clips themselves"
    return (
        f"Generated clips are {figure(found.value)} times as far from their nearest training clip as held-out clips "
        f"are (95 % interval {figure(found.low)} to {figure(found.high)}; {figure(found.floor)} for held-out clips"
        f"{control}): {said}.\nThe check sees whole clips that come again. It does not see copied parts of a clip, "
        "such as a face or a background."
    )


def _probes(evaluation: Evaluation) -> str:
    if not evaluation.probes:
        return ""
    rows = ["| Exact probe | Generated | Real |", "|---|---|---|"]
    for name, value in evaluation.probes.items():
        title, meaning = PROBES.get(name, (name, ""))
        rows.append(f"| {title}: {meaning} | {figure(value)} | {figure(evaluation.probes_real.get(name, 0.0))} |")
    return "\n".join(rows) + "\n\n"


def _control(name: str) -> str:
    return _plain(CONTROLS.get(name, name))


def _plain(text: str) -> str:
    """Text from outside as one line that Markdown and HTML take literally."""
    return "".join(c if c.isalnum() or c in " -_.,:;?'+()%/" else "_" for c in text)
