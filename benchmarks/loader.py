"""How fast clips come out of shards, beside webdataset's own reader on the same files, and what training waits.

    python benchmarks/loader.py                     # 512 clips of 16 x 128 x 128
    python benchmarks/loader.py --clips 2000 --size 64

Shards are written by vgan's writer to a temporary folder and are read from the page cache, in one process. Rounds
alternate between the ways, so a slow minute of the machine hits all alike; the table shows the median and the best.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgan.config import IngestConfig, TrainConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.loading.prefetch import Prefetcher
from vgan.data.manifest import new_version, write_batch, write_version
from vgan.data.shards.formats import Kind, encode_clip
from vgan.data.shards.writer import Sample, write_shards
from vgan.records import Batch, Dataset
from vgan.training import source
from vgan.training.loop import open_run, step_once
from vgan.training.plan import prepare
from vgan.workspace import Workspace

webdataset: Any = importlib.import_module("webdataset")  # its types do not say what it has
BATCH = 16
SHUFFLE = 256  # clips in webdataset's buffer
DRAWN = 24  # clips that differ; the rest are the same under other keys
FPS = 8.0


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="vgan-benchmark-", dir=options.folder) as scratch:
        workspace = Workspace.open(scratch)
        clips = [draw(seed, options.frames, options.size) for seed in range(DRAWN)]
        print(f"{options.clips} clips of {options.frames} x {options.size} x {options.size}\n")
        print("| shards | MB/s written | kB a clip |\n|---|---|---|")
        counts: dict[Kind, int] = {"npy": options.clips, "jpg": options.clips, "mp4": max(BATCH, options.clips // 4)}
        datasets: dict[Kind, Dataset] = {}
        for kind, count in counts.items():
            datasets[kind], rate = write(workspace, kind, clips, count)
            size = sum(shard.size_bytes for shard in datasets[kind].shards)
            print(f"| {kind} | {rate / 1e6:,.0f} | {size / 1e3 / count:,.1f} |")
        ways = {
            "npy: vgan, batches by index": lambda: ours(workspace, datasets["npy"]),
            "npy: webdataset, decode, shuffle": lambda: theirs(workspace, datasets["npy"], "npy"),
            "npy: read() of the tars": lambda: raw(workspace, datasets["npy"]),
            "jpg: vgan, batches by index": lambda: ours(workspace, datasets["jpg"]),
            "jpg: webdataset, decode, shuffle": lambda: theirs(workspace, datasets["jpg"], "jpg"),
            "mp4: vgan, batches by index": lambda: ours(workspace, datasets["mp4"]),
        }
        compare(ways, options.rounds)
        train(Workspace.open(Path(scratch) / "training"), options)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=512, help="clips in the shards")
    parser.add_argument("--size", type=int, default=128, help="pixels of a clip's side")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each way")
    parser.add_argument("--steps", type=int, default=10, help="training steps that are timed")
    parser.add_argument("--threads", type=int, help="CPU threads of the training; all cores when not given")
    parser.add_argument("--folder", type=Path, help="where to write the shards; the system's temporary folder")
    return parser.parse_args()


def draw(seed: int, frames: int, size: int) -> np.ndarray:
    """A clip uint8 [3, T, H, W]: coloured waves of many lengths that drift, under film grain."""
    random = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(size), np.arange(size), indexing="ij", sparse=True)
    clip_CTHW = random.normal(128, 4, (3, frames, size, size)).astype(np.float32)
    for _ in range(10):
        length, angle, speed, phase = random.uniform(4, size), *random.uniform(0, 2 * np.pi, 3)
        wave_THW = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + phase + speed / 10 * t)
        clip_CTHW += random.uniform(-30, 30, (3, 1, 1, 1)).astype(np.float32) * wave_THW.astype(np.float32)
    return np.clip(clip_CTHW, 0, 255).astype(np.uint8)


def write(workspace: Workspace, kind: Kind, clips: list[np.ndarray], count: int) -> tuple[Dataset, float]:
    """Commit a dataset of this kind; returns it and the bytes of its shards that were written in a second."""
    folder = workspace.dataset(kind)
    payloads = [encode_clip(clip_CTHW, kind, FPS) for clip_CTHW in clips]
    about = {"label": None, "source": "videos/000.mp4", "start_seconds": 1.0, "fps": FPS, "scene": 0, "split": "train"}
    samples = (Sample(f"{n:016x}-00000", kind, payloads[n % len(payloads)], about) for n in range(count))
    began = time.perf_counter()
    shards = tuple(write_shards(folder.shards, "train", samples))
    rate = sum(shard.size_bytes for shard in shards) / (time.perf_counter() - began)
    _, frames, height, width = clips[0].shape
    config = IngestConfig(frames=frames, height=height, width=width, fps=FPS, format=kind)
    batch = write_batch(folder, Batch(key="0", videos=(), rejections=(), shards=shards))
    dataset = new_version(kind, 1, config, (), [batch])
    write_version(folder, dataset)
    return dataset, rate


def ours(workspace: Workspace, dataset: Dataset) -> tuple[int, float]:
    """One epoch of shuffled batches, read ahead by a thread, each touched: clips and seconds, opening included."""
    began = time.perf_counter()
    clips = ClipSet(workspace.dataset(dataset.name), dataset, "train", check=False)
    ahead = Prefetcher(clips, batch=BATCH, seed=0)
    steps = len(clips) // BATCH
    for step in range(steps):
        touch(ahead.at(step))
    seconds = time.perf_counter() - began
    ahead.close()
    clips.close()
    return steps * BATCH, seconds


def theirs(workspace: Workspace, dataset: Dataset, kind: Kind) -> tuple[int, float]:
    """One epoch of webdataset's shuffled, decoded samples, each touched and none batched."""
    urls = [str(workspace.dataset(dataset.name).shards / shard.file) for shard in dataset.shards]
    read = 0
    began = time.perf_counter()
    stream = webdataset.WebDataset(urls, shardshuffle=False)
    for sample in stream.decode(*(("rgb8",) if kind == "jpg" else ())).shuffle(SHUFFLE):
        touch(sample[kind])
        read += 1
    return read, time.perf_counter() - began


def raw(workspace: Workspace, dataset: Dataset) -> tuple[int, float]:
    """read() of whole shards into one buffer: what no reader can beat."""
    buffer = bytearray(1 << 20)
    began = time.perf_counter()
    for shard in dataset.shards:
        with open(workspace.dataset(dataset.name).shards / shard.file, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return dataset.clips("train"), time.perf_counter() - began


def touch(pixels: np.ndarray) -> int:
    """Look at a byte of each page, so that nothing can be put off."""
    return int(pixels.reshape(-1)[::4096].sum())


def compare(ways: dict[str, Callable[[], tuple[int, float]]], rounds: int) -> None:
    """Print clips per second of each way, and how they stand to webdataset's reader."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            clips, seconds = way()
            rates[name].append(clips / seconds)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print("\n| way | clips/s, median | best | beside webdataset on the same shards |\n|---|---|---|---|")
    for name, median in medians.items():
        other = medians.get(f"{name[:3]}: webdataset, decode, shuffle")
        ratio = f"{median / other:.1f} x" if other else "-"
        print(f"| {name} | {median:,.0f} | {max(rates[name]):,.0f} | {ratio} |")


def train(workspace: Workspace, options: argparse.Namespace) -> None:
    """Print which part of training steps of the preset 'tiny' on the CPU goes into waiting for clips."""
    print("\n| training on the CPU, 8 x 32 x 32 | ms a step | waiting |\n|---|---|---|")
    clips = [draw(seed, 8, 32) for seed in range(DRAWN)]
    for name, kind, spare in steps_to_time():
        dataset = write(workspace, kind, clips, options.clips)[0]
        source.spare_bytes = lambda device, spare=spare: spare
        config = TrainConfig(budget="1kclips", device="cpu", batch=BATCH, threads=options.threads)
        run = open_run(workspace, prepare(workspace, dataset, config), lambda: False)
        for _ in range(2):
            step_once(run)
        run.source.waited_seconds, began = 0.0, time.perf_counter()
        for _ in range(options.steps):
            step_once(run)
        seconds = time.perf_counter() - began
        share = run.source.waited_seconds / seconds
        print(f"| {name} | {seconds / options.steps * 1e3:.0f} | {share:.2%} |")
        run.source.close()


def steps_to_time() -> Iterator[tuple[str, Kind, int]]:
    """Names, formats, and the memory that clips may take."""
    yield "npy, held in memory", "npy", 1 << 40
    yield "npy, read for each step", "npy", 0
    yield "jpg, read for each step", "jpg", 0
    yield "mp4, read for each step", "mp4", 0


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
