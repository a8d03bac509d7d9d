"""How planning grows with what is known, and how large a plan of a million videos is.

    python benchmarks/growth.py                                  # 1,250, 5,000 and 20,000 known videos, 10 new ones
    python benchmarks/growth.py --known 80000 --simulate 100000

A dataset of N known videos is made of small real files and of records, without decoding; then ten files are added
and planned. "Opened" counts every open below the videos' folder, as Python's own audit hook reports it. The simulated
plan takes names, sizes and hashes out of thin air instead of a disk, and goes the same way from there: looking up,
comparing, writing the plan file. Each figure is of a process of its own; its memory is its whole peak.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vgan.config import IngestConfig
from vgan.data.files.hashing import hash_files
from vgan.data.files.listing import Found, Listing
from vgan.data.files.sources import RACY_NS, KnownFiles
from vgan.data.manifest import new_version, write_batch, write_version
from vgan.data.planning.origin import Origin
from vgan.data.planning.plan import IngestPlan, Source, read_batch_plans
from vgan.data.planning.planner import plan_contents, plan_ingest
from vgan.data.shards.writer import Sample, write_shards
from vgan.progress import silent
from vgan.records import Batch, BatchRef, Video
from vgan.workspace import DatasetFolder, Workspace

NEW = 10
NAME = "growth"
CONFIG = IngestConfig()


def main() -> None:
    options = read_options()
    if options.child:
        result = simulate(options.child, options.simulate) if options.simulate else add_ten(options.child)
        print(json.dumps(result))
        return
    print("| known videos | new | files opened | planned | seconds | peak MB |\n|---|---|---|---|---|---|")
    for known in options.known:
        with tempfile.TemporaryDirectory(prefix="vgan-benchmark-") as scratch:
            make_known(Path(scratch), known)
            row = child(scratch)
            cells = f"{row['opened']:,.0f} | {row['planned']:,.0f} | {row['seconds']:.2f} | {row['peak_mb']:.0f}"
            print(f"| {known:,} | {NEW} | {cells} |", flush=True)
    print("\n| videos in a simulated plan | batches | task runs | plan file MB | seconds | peak MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="vgan-benchmark-") as scratch:
        row = child(scratch, "--simulate", str(options.simulate))
        cells = f"{row['task_runs']:,.0f} | {row['file_mb']:.0f} | {row['seconds']:.1f} | {row['peak_mb']:.0f}"
        print(f"| {options.simulate:,} | {row['task_runs'] - 2:,.0f} | {cells} |")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--known", type=int, nargs="+", default=[1250, 5000, 20_000], help="known videos of each row")
    parser.add_argument("--simulate", type=int, help="videos of the simulated plan (default 1,000,000)")
    parser.add_argument("--child", type=Path, help="measure in this folder and print JSON: how this file calls itself")
    options = parser.parse_args()
    if not options.child:
        options.simulate = options.simulate or 1_000_000
    return options


def child(folder: str, *arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", folder, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def make_known(folder: Path, count: int) -> None:
    """`count` files below folder/videos, and the dataset that their ingest would have made."""
    videos = folder / "videos"
    for number in range(count):
        path = videos / f"day-{number // 500:04d}" / f"recording-{number:08d}.mp4"
        if number % 500 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(path.name)
    time.sleep(RACY_NS / 1e9 + 0.1)  # a file of this very moment would be hashed again each time
    workspace = Workspace.open(folder / "workspace")
    carry_out(workspace.dataset(NAME), plan_ingest(workspace, videos, NAME, CONFIG))
    plan_ingest(workspace, videos, NAME, CONFIG)  # checks the shards, once


def carry_out(folder: DatasetFolder, plan: IngestPlan) -> None:
    """Make the version that a plan asks for, of records and of shards without pixels."""
    refs: list[BatchRef] = []
    for batch in read_batch_plans(folder, plan.batches):
        samples = [
            Sample(f"{source.digest_sha256[:16]}-00000", "npy", b"", {"label": None}) for source in batch.sources
        ]
        shards = tuple(write_shards(folder.shards, "train", samples))
        made = tuple(video_of(source) for source in batch.sources)
        refs.append(write_batch(folder, Batch(key=batch.key, videos=made, rejections=(), shards=shards)))
    write_version(folder, new_version(NAME, 1, CONFIG, (), refs))


def video_of(source: Source) -> Video:
    return Video(
        **source.model_dump(exclude={"schema_version"}),
        copies=(),
        content=source.digest_sha256,
        fingerprint="A" * 400,
        group=source.digest_sha256[:16],
        split="train",
        marks=(),
        codec="h264",
        width=1280,
        height=720,
        fps=29.97,
        seconds=7.0,
        colour="bt709 limited",
        treatment=(),
        frames_decoded=210,
        decode_errors=0,
        clips=5,
        motion=3.5,
        left_out={"static": 1},
    )


def add_ten(folder: Path) -> dict[str, float]:
    """Add ten files and plan them."""
    videos = folder / "videos"
    for number in range(NEW):
        (videos / f"new-{number}.mp4").write_text(f"new {number}")
    prefix = os.fspath(videos) + os.sep
    opened: list[str] = []

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(prefix):
            opened.append(arguments[0])

    sys.addaudithook(hear)
    started = time.monotonic()
    plan = plan_ingest(Workspace.open(folder / "workspace"), videos, NAME, CONFIG)
    seconds = time.monotonic() - started
    planned = sum(place.videos for place in plan.batches)
    return {"seconds": seconds, "opened": len(opened), "planned": planned, "peak_mb": peak_mb()}


def simulate(folder: Path, count: int) -> dict[str, float]:
    """Plan `count` videos that no disk holds, all of them new."""
    workspace = Workspace.open(folder / "workspace")
    place = workspace.dataset(NAME)
    with KnownFiles(place.sources) as known:
        for file in synthetic(count):
            known.remember("/videos", file, hashlib.sha256(file.path.encode()).digest(), 0)
        started = time.monotonic()
        listing = Listing(root="/videos", remote=False, whole=True, files=list(synthetic(count)))
        contents = hash_files(workspace, listing, known, silent)
        plan = plan_contents(place, NAME, CONFIG, None, Origin(), listing, contents, None, known)
        seconds = time.monotonic() - started
    assert sum(batch.videos for batch in plan.batches) == count
    runs = len(plan.batches) + 2  # planning and the commit are one each
    size = place.plan.stat().st_size / 1e6
    return {"seconds": seconds, "task_runs": runs, "file_mb": size, "peak_mb": peak_mb()}


def synthetic(count: int) -> Iterator[Found]:
    """Rows as a listing has them, sorted by path."""
    for number in range(count):
        path = f"day-{number // 500:06d}/recording-{number:08d}.mp4"
        yield Found(path, 1_000_000 + number, f"17c0ffee{number:08x}-17c0ffee{number:08x}-{number:x}")


def peak_mb() -> float:
    """Peak of this process's memory; what `getrusage` says includes that of whoever started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main()
