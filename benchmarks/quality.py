"""The referee: train for a budget, several seeds, and score against held-out clips; change one thing, keep what wins.

    python benchmarks/quality.py --budget 60s --seeds 0 1 2                       # shapes, 32 px x 8 frames
    python benchmarks/quality.py --budget 9.6kclips --set batch=16 --discriminator widths=[48,64,96]
    python benchmarks/quality.py --budget 5m --size 64 --frames 16
    python benchmarks/quality.py --bars 1m 3m                                     # the bars, met or missed
    python benchmarks/quality.py --budget 10m --size 64 --frames 16 --videos DIR --ingest 'group_by="person\\d+"'

Training is the product's own: its plan, with what `--set` and the like replace, in its own child process. Compare
rows of equal clips (`20kclips`) where something else runs on the machine, since seconds then hold fewer of them. A
run of equal configuration and code that is there already is not trained again.

Columns, from left to right: kclips shown; seconds of training; clips a second; the probes of shapes (vgan/evaluation/
probes.py); "cells", the share of the kinds that all real clips have (class, colour, shape, size; 64 of them) found
among the generated clips; the random-embedding Frechet distance, its floor (real against real), its frozen-clip
control, and the ratio of distance and control.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import vgan
from vgan.config import EvaluateConfig, IngestConfig, Spec, TrainConfig, build
from vgan.data.ingest import ingest
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset
from vgan.data.shapes import write_videos
from vgan.errors import VganError
from vgan.evaluation import probes
from vgan.evaluation.evaluate import evaluate
from vgan.evaluation.evidence import matching_labels, read_clips
from vgan.media.encode import contact_sheet, write_png
from vgan.records import Dataset, TrainedRun, digest_of
from vgan.sampling import Sampler
from vgan.storage import write_atomic
from vgan.training import process
from vgan.training.plan import RunConfig, read_budget, resolve
from vgan.training.revision import git_commit
from vgan.workspace import Workspace

PACKAGE = Path(vgan.__file__).resolve().parent
SCORED_CLIPS = 512
SHEET_CLIPS = 16
Row = dict[str, Any]

# column: heading, digits, and whether more is better
COLUMNS: dict[str, tuple[str, int, bool]] = {
    "kclips": ("kclips", 1, True),
    "seconds": ("s", 0, False),
    "rate": ("clips/s", 1, True),
    "direction": ("direction", 3, True),
    "speed": ("and speed", 3, True),
    "one_object": ("one object", 3, True),
    "background": ("background", 2, False),
    "cells": ("cells", 3, True),
    "colour_drift": ("drift", 1, False),
    "purity": ("purity", 3, True),
    "kinds": ("kinds", 3, True),
    "frechet": ("Frechet", 4, False),
    "floor": ("floor", 4, False),
    "frozen": ("frozen", 4, False),
    "ratio": ("ratio", 3, False),
    "motion": ("motion", 4, False),
    "coverage": ("coverage", 3, True),
}


@dataclass(frozen=True)
class Job:
    """One training and its judgement."""

    workspace: str
    dataset: str
    train: dict[str, Any]  # fields of TrainConfig
    recipe: dict[str, Any]  # fields that replace the preset's
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    out: str

    @property
    def seed(self) -> int:
        return int(self.train["seed"])


@dataclass(frozen=True)
class Bar:
    """What the worst seed must reach after a budget; clips of `size` x `size`."""

    budget: str
    size: int
    frames: int
    bars: dict[str, float]


BARS = {
    "1m": Bar("60s", 32, 8, {"speed": 0.75, "one_object": 0.65, "background": 2, "cells": 0.2, "ratio": 1}),
    "3m": Bar("180s", 32, 8, {"speed": 0.9, "one_object": 0.85, "background": 1, "cells": 0.4, "ratio": 1 / 3}),
    "10m": Bar(
        "600s",
        32,
        8,
        {
            **{"speed": 0.95, "one_object": 0.95, "background": 1, "cells": 0.8, "ratio": 1 / 6},
            **{"colour_drift": 20, "kinds": 0.75},
        },
    ),
    "5m-64px": Bar("300s", 64, 16, {"speed": 0.9, "one_object": 0.9, "background": 1, "cells": 0.4, "ratio": 1 / 2}),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--workspace", default="/tmp/vgan-quality", help="datasets and runs, kept for the next call")
    parser.add_argument("--budget", help="'60s', '3m' or '20kclips'")
    parser.add_argument("--size", type=int, default=32, help="height and width of a clip in pixels")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, help="CPU threads of each training; all cores unless given")
    parser.add_argument("--parallel", type=int, default=1, help="trainings at a time")
    for name, what in (
        ("set", "recipe or of TrainConfig"),
        ("generator", "generator"),
        ("discriminator", "discriminator"),
        ("ingest", "IngestConfig, for --videos"),
    ):
        parser.add_argument(f"--{name}", nargs="*", default=[], metavar="FIELD=JSON", help=f"fields of the {what}")
    parser.add_argument("--videos", type=Path, help="train on these instead of shapes; no probes then")
    parser.add_argument("--labels", default="folder", choices=("none", "folder"), help="classes of --videos")
    parser.add_argument(
        "--group-by", help="regular expression: videos with equal matches stay on one side of the split"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for table, JSON and sheets; WORKSPACE/quality/... unless given"
    )
    parser.add_argument("--bars", nargs="*", help=f"judge these rows: {', '.join(BARS)}; all unless named")
    options = parser.parse_args()
    if unknown := set(options.bars or []) - set(BARS):
        parser.error(f"no row of the bars: {', '.join(unknown)}; they are {', '.join(BARS)}")
    if options.budget is None and options.bars is None:
        parser.error("give --budget or --bars")
    return options


def fields(pairs: list[str]) -> dict[str, Any]:
    """FIELD=JSON, or FIELD=text where that is no JSON."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def shapes_dataset(workspace: Workspace, size: int, frames: int) -> Dataset:
    """600 videos of one second, of twice the size and the frames; a clip is one whole journey."""
    name = f"shapes-{size}x{frames}"
    videos = workspace.root / "videos" / name
    write_videos(videos, size=2 * size, frames=2 * frames, fps=2.0 * frames)
    config = IngestConfig(frames=frames, height=size, width=size, fps=float(frames), labels="folder")
    ingest(workspace, str(videos), name, config)
    return load_dataset(workspace, name)


def real_dataset(workspace: Workspace, options: argparse.Namespace) -> Dataset:
    """The clips of --videos."""
    shape = {"frames": options.frames, "height": options.size, "width": options.size}
    asked = {**shape, "labels": options.labels, "group_by": options.group_by, **fields(options.ingest)}
    name = f"{options.videos.resolve().name.lower()}-{options.size}x{options.frames}"
    ingest(workspace, str(options.videos), name, build(IngestConfig, asked))
    return load_dataset(workspace, name)


def code() -> str:
    """Digest of the source that training runs: a run of other code is another run."""
    files = [*PACKAGE.glob("models/*.py"), *PACKAGE.glob("training/*.py")]
    return sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def replaced(spec: Any, values: dict[str, Any]) -> Any:
    """A spec with some fields replaced, and checked."""
    return build(type(spec), {**spec.model_dump(), **values})


def changed(job: Job, workspace: Workspace, dataset: Dataset, config: TrainConfig, init: str | None) -> RunConfig:
    """The product's plan of a run with what the job replaces, under a key of its own."""
    run = resolve(workspace, dataset, config, init)
    update: dict[str, Spec] = {
        "recipe": replaced(run.recipe, job.recipe),
        "network": run.network.model_copy(
            update={
                "generator": replaced(run.network.generator, job.generator),
                "discriminator": replaced(run.network.discriminator, job.discriminator),
            }
        ),
    }
    digest = digest_of([job.recipe, job.generator, job.discriminator, config.threads, code()])
    return run.model_copy(update={**update, "run": f"{run.run}-q{digest[:8]}"})


def train(job: Job) -> tuple[Workspace, Dataset, TrainedRun]:
    """Train by the product's own way, with a plan of our own."""
    workspace = Workspace.open(job.workspace)
    dataset = load_dataset(workspace, job.dataset)

    def run_key(dataset: Dataset, config: TrainConfig, init: str | None = None) -> str:
        return changed(job, workspace, dataset, config, init).run

    def prepare(workspace: Workspace, dataset: Dataset, config: TrainConfig, init: str | None = None) -> str:
        run = changed(job, workspace, dataset, config, init)
        write_atomic(workspace.run(run.run).config, run.to_json())
        return run.run

    with patch.multiple(process, run_key=run_key, prepare=prepare):
        trained, _ = process.train(workspace, job.dataset, build(TrainConfig, job.train))
    return workspace, dataset, trained


def judge(job: Job) -> Row:
    """Train, evaluate, write the sheet, and give the row of this seed."""
    workspace, dataset, trained = train(job)
    if job.train.get("threads"):
        torch.set_num_threads(job.train["threads"])
    evaluation, _ = evaluate(workspace, trained.run, EvaluateConfig(clips=SCORED_CLIPS, seed=0))
    frechet = evaluation.metric("frechet")
    budget = read_budget(workspace.run(trained.run))
    row: Row = {
        "seed": job.seed,
        "kclips": trained.clips / 1000,
        "seconds": trained.seconds,
        "rate": trained.clips / trained.seconds,
        **evaluation.probes,
        "frechet": frechet.value,
        "floor": frechet.floor,
        "frozen": frechet.controls["frozen"],
        "ratio": frechet.value / frechet.controls["frozen"],
        "motion": evaluation.metric("motion").value,
        "coverage": evaluation.metric("coverage").value,
        "diversity": evaluation.diversity,
        "run": trained.run,
        "rate_probed": budget and budget.clips_per_second,
        "evaluation": evaluation.model_dump(mode="json"),
    }
    sampler = Sampler(workspace.run(trained.run).generator)
    labels = [wish.label for wish in sampler.wishes(SHEET_CLIPS, 0)]
    sheet = np.concatenate([sampler.sample(1, seed, label) for seed, label in enumerate(labels)])
    write_png(Path(job.out) / f"sheet-seed{job.seed}.png", contact_sheet(sheet, columns=2))
    if evaluation.probes:
        row["cells"] = all_cells(workspace, dataset, sampler)
    return row


def all_cells(workspace: Workspace, dataset: Dataset, sampler: Sampler) -> float:
    """Share of the kinds that all real clips have found among SCORED_CLIPS generated ones.

    Other than the evaluation's own probe, which compares equal counts, about 60 here, and gives .6 for real clips.
    """
    kinds: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for split in ("train", "heldout"):
        clips = ClipSet(workspace.dataset(dataset.name), dataset, split)
        kinds.append(probes.measure(read_clips(clips, np.arange(len(clips)))).cell)
        labels.append(clips.labels)
        clips.close()
    made_labels = matching_labels(np.concatenate(labels), SCORED_CLIPS)
    made = np.concatenate([sampler.sample(1, seed, int(label)) for seed, label in enumerate(made_labels)])
    return probes.covered_cells(probes.measure(made).cell, made_labels, np.concatenate(kinds), np.concatenate(labels))


def real_sheet(workspace: Workspace, dataset: Dataset, out: Path) -> None:
    clips = ClipSet(workspace.dataset(dataset.name), dataset, "heldout")
    chosen = np.linspace(0, len(clips) - 1, min(SHEET_CLIPS, len(clips))).astype(np.int64)
    write_png(out / "sheet-real.png", contact_sheet(read_clips(clips, chosen), columns=2))
    clips.close()


def worst(rows: list[Row]) -> Row:
    """In each column the worst of all seeds."""
    return {"seed": "worst"} | {
        name: (min if more else max)(row[name] for row in rows)
        for name, (_, _, more) in COLUMNS.items()
        if name in rows[0]
    }


def table(rows: list[Row]) -> str:
    """Markdown: one line a seed, then the worst."""
    names = [name for name in COLUMNS if name in rows[0]]
    lines = ["| seed | " + " | ".join(COLUMNS[name][0] for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in [*rows, *([worst(rows)] if len(rows) > 1 else [])]:
        cells = (f"{row[name]:.{COLUMNS[name][1]}f}" for name in names)
        lines.append(f"| {row['seed']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def met(bar: Bar, rows: list[Row]) -> str:
    """Markdown: each bar, what the worst seed has, and whether that meets it."""
    reached = worst(rows)
    lines = [f"| after {bar.budget}, {bar.size} px x {bar.frames} | bar | worst seed | |", "|---|---|---|---|"]
    for name, wanted in bar.bars.items():
        heading, digits, more = COLUMNS[name]
        good = reached[name] >= wanted if more else reached[name] <= wanted
        sign = ">=" if more else "<="
        lines.append(
            f"| {heading} | {sign} {wanted:.3g} | {reached[name]:.{digits}f} | {'met' if good else '**missed**'} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu.partition(": ")[2] or cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "git_commit": git_commit(),
        "code": code(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def referee(options: argparse.Namespace, budget: str) -> list[Row]:
    """Train and judge all seeds of one setting; writes table.md, result.json and the sheets."""
    workspace = Workspace.open(options.workspace)
    if options.videos:
        dataset = real_dataset(workspace, options)
    else:
        dataset = shapes_dataset(workspace, options.size, options.frames)
    asked = fields(options.set)
    ours = {name: asked.pop(name) for name in list(asked) if name in TrainConfig.model_fields}
    ours |= {"budget": budget, "threads": options.threads}
    changes = (asked, fields(options.generator), fields(options.discriminator))
    name = f"{dataset.name}-{budget}-{digest_of([ours, changes, code()])[:8]}"
    out = (options.out or workspace.root / "quality") / name
    out.mkdir(parents=True, exist_ok=True)
    first = Job(str(workspace.root), dataset.name, {}, *changes, str(out))
    jobs = [replace(first, train={**ours, "seed": seed}) for seed in options.seeds]
    real_sheet(workspace, dataset, out)
    rows: list[Row] = []
    with ProcessPoolExecutor(options.parallel, get_context("spawn")) as pool:
        for row in pool.map(judge, jobs) if options.parallel > 1 else map(judge, jobs):
            rows.append(row)
            print(f"{name} seed {row['seed']}: {row['run']}", file=sys.stderr, flush=True)
            result = {
                "machine": machine(),
                "job": asdict(jobs[0]),
                "budget": budget,
                "rows": rows,
                "worst": worst(rows),
            }
            write_atomic(out / "result.json", json.dumps(result, indent=1).encode())
            write_atomic(out / "table.md", table(rows).encode() + b"\n")
    print(f"\n{name}\n\n{table(rows)}\n\nsheets and JSON: {out}", flush=True)
    return rows


def main() -> None:
    options = arguments()
    if options.bars is None:
        referee(options, options.budget)
        return
    for name in options.bars or BARS:
        bar = BARS[name]
        options.size, options.frames = bar.size, bar.frames
        print(f"\n{met(bar, referee(options, options.budget or bar.budget))}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except VganError as error:
        print(f"quality.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
