"""Do the figures say what they should? Real halves, controls, and checkpoints along one training run.

    python benchmarks/evaluation_study.py                         # writes its tables into docs/evaluation.md
    python benchmarks/evaluation_study.py --as-it-is              # of a training that was stopped, or still runs

Draws videos of `shapes`, ingests and trains as the product does (preset `tiny`, one thread), takes a copy of each
checkpoint while it is there, and evaluates the averaged generator of some of them. The tables stand between the markers
in the file; nothing in them is written by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import threading
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from vgan.config import EvaluateConfig, IngestConfig, TrainConfig
from vgan.data.ingest import ingest
from vgan.data.manifest import load_dataset
from vgan.data.shapes import write_videos
from vgan.evaluation.evaluate import evaluate_generator
from vgan.evaluation.glossary import figure
from vgan.records import Evaluation, Metric
from vgan.storage import write_atomic
from vgan.training.loop import generator_record
from vgan.training.plan import RunConfig, read_config, run_key
from vgan.training.process import train
from vgan.workspace import RunFolder, Workspace

BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"
AT = (0.25, 0.5, 1.0, 2.0, 4.0)  # thousands of clips, at which a checkpoint is evaluated
CHECKPOINTS = 16  # of the whole training
CONTROLS = ("frozen", "shuffled", "noise", "blurred", "mislabelled", "copied")
POLL_SECONDS = 0.2


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="/tmp/vgan-study")
    parser.add_argument("--kclips", type=float, default=4.0, help="clips of the whole training, in thousands")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--clips", type=int, default=256, help="generated clips of each evaluation")
    parser.add_argument("--bootstrap", type=int, default=50)
    parser.add_argument("--as-it-is", action="store_true", help="train no further; take the checkpoints that are kept")
    parser.add_argument("--out", type=Path, default=PAGE, help="Markdown file with the markers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    workspace = Workspace.open(asked.workspace)
    videos = workspace.root / "videos"
    frames, size = asked.frames, asked.size
    write_videos(videos, num=asked.videos, size=2 * size, frames=2 * frames, fps=2.0 * frames)
    ingest(
        workspace,
        str(videos),
        "shapes",
        IngestConfig(frames=frames, height=size, width=size, fps=float(frames), labels="folder"),
    )
    plan = TrainConfig(budget=f"{asked.kclips:g}kclips", threads=1, checkpoints=CHECKPOINTS)
    folder = workspace.run(run_key(load_dataset(workspace, "shapes"), plan))
    kept = workspace.root / "study" / folder.path.name
    if not asked.as_it_is:
        train_and_keep(workspace, folder, plan, kept)
    run = read_config(folder)
    config = EvaluateConfig(clips=asked.clips, bootstrap=asked.bootstrap)
    rows: list[tuple[int, Evaluation]] = []
    for steps, tensors in chosen(kept, run):
        generator = export(kept / f"{steps:08d}", tensors, run)
        evaluation = evaluate_generator(generator, workspace, "shapes", run.run, config)
        rows.append((steps * run.recipe.batch, evaluation))
        print(f"{rows[-1][0]} clips: {evaluation.metric('frechet').value:.3f}", flush=True)
    write(asked.out, tables(rows, run))


def train_and_keep(workspace: Workspace, folder: RunFolder, config: TrainConfig, kept: Path) -> None:
    """Train as the product does, and copy all its checkpoints to `kept`."""
    source = folder.checkpoints
    kept.mkdir(parents=True, exist_ok=True)
    done = threading.Event()

    def copy_all() -> None:
        for manifest in sorted(source.glob("????????.json")):
            target = kept / manifest.with_suffix(".safetensors").name
            if not target.exists():
                shutil.copy(manifest.with_suffix(".safetensors"), target)

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            copy_all()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        train(workspace, "shapes", config)
    finally:
        done.set()
        watcher.join()
    copy_all()


def chosen(checkpoints: Path, run: RunConfig) -> list[tuple[int, Path]]:
    """The checkpoints nearest to AT thousands of clips, by step."""
    there = {int(path.stem): path for path in checkpoints.glob("????????.safetensors")}
    wanted = [min(there, key=lambda step: abs(step - 1000 * kclips / run.recipe.batch)) for kclips in AT]
    return [(step, there[step]) for step in sorted({*wanted, max(there)})]


def export(folder: Path, checkpoint: Path, run: RunConfig) -> Path:
    """The averaged generator of a checkpoint as a generator folder."""
    tensors = load_file(checkpoint)
    average = {name.removeprefix("average."): t for name, t in tensors.items() if name.startswith("average.")}
    weights = save(average)
    record = generator_record(run).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    write_atomic(folder / "weights.safetensors", weights)
    write_atomic(folder / "generator.json", record.to_json())
    return folder


def tables(rows: list[tuple[int, Evaluation]], run: RunConfig) -> str:
    """Markdown."""
    first = rows[0][1]
    main = first.metric(first.primary)
    clips = [f"{count / 1000:g}" for count, _ in rows]
    shape = run.shape
    parts = [
        f"`shapes`, {shape.frames} frames of {shape.width} x {shape.height} pixels; preset `{run.config.preset}`, "
        f"budget {run.config.budget}, seed {run.config.seed}. {first.heldout_clips} held-out clips, "
        f"{first.generated_clips} generated, {first.training_clips} training clips; {main.real_clips} a side, "
        f"halves by {first.halves.removesuffix('s')}, {first.config.bootstrap} half-samples. Protocol "
        f"`{first.protocol}`.",
        "Real clips against real ones, and the controls:",
        table(["figure", "better", "real", *CONTROLS], [[*named(m), *controls_of(m)] for m in first.metrics]),
        "Generated clips after so many thousand clips of training, with the 95 % interval:",
        table(["figure", "better", "real", *clips], [values_along(m.name, rows) for m in first.metrics]),
        "The same as calibrated scores, 0 as real clips, 1 as the worst control:",
        table(["figure", *clips, "lowest at"], [scores_along(m.name, rows) for m in first.metrics]),
    ]
    if first.probes:
        parts += ["The exact probes:", table(["probe", "real", *clips], probes_along(rows))]
    return "\n\n".join(parts)


def named(metric: Metric) -> list[str]:
    return [f"`{metric.name}`", metric.better, figure(metric.floor)]


def controls_of(metric: Metric) -> list[str]:
    return [figure(metric.controls[name]) if name in metric.controls else "" for name in CONTROLS]


def values_along(name: str, rows: list[tuple[int, Evaluation]]) -> list[str]:
    metrics = [evaluation.metric(name) for _, evaluation in rows]
    return [*named(metrics[0]), *(f"{figure(m.value)} ({figure(m.low)} to {figure(m.high)})" for m in metrics)]


def scores_along(name: str, rows: list[tuple[int, Evaluation]]) -> list[str]:
    scores = [(evaluation.metric(name).score, count) for count, evaluation in rows]
    known = [(score, count) for score, count in scores if score is not None]
    lowest = f"{min(known)[1] / 1000:g}" if known else ""
    return [f"`{name}`", *("" if score is None else f"{score:.2f}" for score, _ in scores), lowest]


def probes_along(rows: list[tuple[int, Evaluation]]) -> list[list[str]]:
    real = rows[0][1].probes_real
    return [[name, figure(real[name]), *(figure(e.probes[name]) for _, e in rows)] for name in real]


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(page: Path, content: str) -> None:
    """Put the content between the markers of the page, or after it when it has none."""
    text = page.read_text() if page.exists() else ""
    if BEGIN not in text:
        text = f"{text}{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    write_atomic(page, f"{before}{BEGIN}\n{content}\n{END}{rest.split(END, 1)[1]}".encode())


if __name__ == "__main__":
    main()
