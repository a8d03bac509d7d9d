"""How long an evaluation takes, by part, and how much memory.

    python benchmarks/evaluation.py                          # 1,000 clips a side, 16 frames of 64 x 64 pixels
    OMP_NUM_THREADS=1 python benchmarks/evaluation.py --clips 256

Drawn clips of `shapes` in npy shards, as many held out as are generated, and `--training` more; a generator of the
`tiny` preset that was never trained, which takes as long as one that was. The product's own path is timed:
`evaluate`, twice, with another generator the second time, for which the real clips' part is there already.

Seconds are by the clock; beside them processor time, which other work on the machine leaves alone.
Peak memory is the process's VmHWM, with the interpreter and torch.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from made_generator import generator_record, write_generator
from made_records import commit_batches, keep_batch, made_video

from vgan.config import EvaluateConfig, IngestConfig, TrainConfig
from vgan.data.shapes import DIRECTIONS, render_video
from vgan.data.shards.formats import encode_clip
from vgan.data.shards.writer import Sample
from vgan.evaluation.evaluate import evaluate
from vgan.models.network import ClipShape
from vgan.records import Dataset, Evaluation, Split, TrainedRun
from vgan.storage import write_atomic
from vgan.workspace import Workspace

FPS = 16.0
GROUPS = {
    "reading and embedding held-out clips": ("held-out clips",),
    "training clips": ("training clips",),
    "spoilt clips (four controls)": ("controls",),
    "real against real, all figures": ("real clips: ",),
    "generating": ("generating",),
    "embedding generated clips": ("generated clips",),
    "generated against real, all figures": ("generated: ", "summing up"),
}


def main() -> None:
    """Time it and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000, help="clips a side")
    parser.add_argument("--training", type=int, default=1000, help="training clips")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(Path(folder) / "workspace")
        dataset = write_dataset(workspace, asked.clips, asked.training, asked.frames, asked.size)
        config = EvaluateConfig(clips=asked.clips)
        print(f"{asked.clips} clips a side, {asked.frames} x {asked.size} px, {torch.get_num_threads()} threads\n")
        print("| run | seconds | CPU seconds | peak memory so far |\n|---|---|---|---|")
        made = [timed(workspace, dataset, run, config) for run in ("first", "second")]
    print("\n| part | first model | second model |\n|---|---|---|")
    for name, starts in GROUPS.items():
        print(f"| {name} | {' | '.join(seconds(evaluation, starts) for evaluation in made)} |")
    print("\n| figure | real against real, with controls | generated against real |\n|---|---|---|")
    for what, spent in made[0].timings.items():
        if what.startswith("real clips: "):
            name = what.removeprefix("real clips: ")
            print(f"| {name} | {spent:.2f} | {made[0].timings[f'generated: {name}']:.2f} |")


def seconds(evaluation: Evaluation, starts: tuple[str, ...]) -> str:
    spent = [s for what, s in evaluation.timings.items() if what.startswith(starts)]
    return f"{sum(spent):.1f} s" if spent else "kept"


def timed(workspace: Workspace, dataset: Dataset, run: str, config: EvaluateConfig) -> Evaluation:
    write_run(workspace, dataset, run)
    clock, processor = time.perf_counter(), time.process_time()
    evaluation, _ = evaluate(workspace, run, config)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(f"| {run} model | {clock:.1f} | {processor:.1f} | {peak_megabytes():,.0f} MB |", flush=True)
    return evaluation


def peak_megabytes() -> float:
    """VmHWM of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def write_dataset(workspace: Workspace, heldout: int, training: int, frames: int, size: int) -> Dataset:
    """Drawn clips, each of a video of its own."""
    folder = workspace.dataset("shapes")
    videos = []
    samples: dict[Split, list[Sample]] = {"train": [], "heldout": []}
    for i in range(heldout + training):
        clip_THWC, shape = render_video(0, i, size=size, frames=frames)
        digest = hashlib.sha256(str(i).encode()).hexdigest()
        split: Split = "heldout" if i < heldout else "train"
        payload = encode_clip(np.ascontiguousarray(clip_THWC.transpose(3, 0, 1, 2)), "npy", FPS)
        samples[split].append(Sample(f"{digest[:16]}-00000", "npy", payload, {"label": shape.direction}))
        videos.append(made_video(digest, split=split, label=shape.direction))
    config = IngestConfig(frames=frames, height=size, width=size, fps=FPS, labels="folder")
    return commit_batches(folder, config, DIRECTIONS, [keep_batch(folder, "k" * 16, videos, samples)])


def write_run(workspace: Workspace, dataset: Dataset, run: str) -> None:
    """A finished run of an untrained generator."""
    config = dataset.config
    shape = ClipShape(frames=config.frames, height=config.height, width=config.width, labels=len(dataset.labels))
    digest = dataset.digest()
    record = generator_record(shape, labels=dataset.labels, run=run, dataset="shapes", dataset_digest=digest, fps=FPS)
    record = write_generator(workspace.run(run).generator, record, seed=len(run))
    trained = TrainedRun(
        run=run, dataset="shapes", dataset_digest=digest, config=TrainConfig(), device="cpu",
        steps=1, clips=1, seconds=1.0, generator=record, git_commit=None,
    )  # fmt: skip
    write_atomic(workspace.run(run).record, trained.to_json())


if __name__ == "__main__":
    main()
