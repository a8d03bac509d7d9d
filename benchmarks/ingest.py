"""How much `vgan ingest` costs beside a plain decoding loop, measured side by side on the same files.

    python benchmarks/ingest.py                        # draws 200 short videos and a long one, then measures
    python benchmarks/ingest.py --short FOLDER --long FILE    # the same on your own

Three ways read the same frames: an in-process PyAV loop that decodes and scales (swscale AREA) and does nothing
else; one ffmpeg process a video, its arguments built with ffmpeg-python, pixels through a pipe; and the whole
command `vgan ingest`, with hashing, cuts, filters, fingerprints and shard writing. CPU seconds are those of all
processes together; rounds alternate and medians are compared, so a slow minute of the machine hits all ways alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from vgan.media.ffmpeg import file_url, run

PLAIN_LOOP = """
import sys
import av
from av.video.reformatter import VideoReformatter
size, fps, paths = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
frames = 0
for path in paths:
    last = -1
    scaler = VideoReformatter()
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            for frame in packet.decode():
                frames += 1
                cell = int(frame.time * fps + 0.1)
                if cell > last:
                    last = cell
                    scaler.reformat(frame, width=size, height=size, format="rgb24", interpolation="AREA").to_ndarray()
print(frames)
"""

FFMPEG_LOOP = """
import sys
import subprocess
import ffmpeg
import numpy
size, fps, program, paths = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
for path in paths:
    video = ffmpeg.input(path, threads=1)["v:0"].filter("fps", fps).filter("scale", size, size, flags="area")
    arguments = ffmpeg.output(video, "pipe:1", format="rawvideo", pix_fmt="rgb24", threads=1).get_args()
    child = subprocess.Popen([program, "-v", "error", "-nostdin", *arguments], stdout=subprocess.PIPE)
    while pixels := child.stdout.read(size * size * 3):
        numpy.frombuffer(pixels, numpy.uint8)
    child.wait()
"""


@dataclass(frozen=True)
class Cost:
    """Of one command with all its children."""

    cpu: float  # seconds
    wall: float  # seconds
    peak_mb: float  # resident memory of the largest process below it
    output: str


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="vgan-benchmark-") as scratch:
        folder = Path(scratch)
        short = options.short or draw_short(folder / "short", options.count)
        long = options.long or draw_long(folder / "long")
        shorts = sorted(path for path in short.rglob("*") if path.is_file())
        print(f"{len(shorts)} short videos, one long one, {options.size} px, {os.cpu_count()} cores\n")
        print("| videos | frames kept | way | CPU s per 1,000 frames | beside the plain loop |\n|---|---|---|---|---|")
        for name, videos, place in (("short", shorts, short), ("long", [long], long)):
            for fps in options.fps:
                compare(folder, name, videos, place, fps, options)
        compare_workers(folder, short, options)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=Path, help="folder of short videos; drawn when it is not given")
    parser.add_argument("--long", type=Path, help="one long video; drawn when it is not given")
    parser.add_argument("--count", type=int, default=200, help="short videos to draw")
    parser.add_argument("--size", type=int, default=128, help="pixels of a clip's side")
    parser.add_argument("--fps", type=float, nargs="+", default=[30.0, 8.0], help="frames per second that are kept")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are shown")
    return parser.parse_args()


def draw_short(folder: Path, count: int) -> Path:
    """Videos of 7 s, 424 x 240 at 30 per second: drifting colour gradients under film grain, each another."""
    folder.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda number: draw(folder / f"{number:03d}.mp4", "424x240", 7, number), range(count)))
    return folder


def draw_long(folder: Path) -> Path:
    """One video of 60 s, 1280 x 720 at 30 per second, of the same kind."""
    folder.mkdir()
    draw(folder / "long.mp4", "1280x720", 60, 1000)
    return folder / "long.mp4"


def draw(path: Path, size: str, seconds: int, seed: int) -> None:
    graph = f"gradients=size={size}:rate=30:duration={seconds}:n=8:seed={seed}:speed=0.02"
    graph += ",format=yuv420p,noise=c0s=8:c0f=t"
    encoder = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "1"]
    _, finished = run(["-loglevel", "level+error", "-f", "lavfi", "-i", graph, *encoder, file_url(path)], timeout=600)
    if finished.returncode:
        raise SystemExit(f"ffmpeg cannot draw the videos: {finished.first_error}")


def compare(
    folder: Path, name: str, videos: Sequence[Path], place: Path, fps: float, options: argparse.Namespace
) -> None:
    """Print one row a way, CPU time beside that of the plain loop."""
    from vgan.media.ffmpeg import find_ffmpeg

    files = [str(path) for path in videos]
    size, rate = str(options.size), str(fps)
    ways: dict[str, Callable[[], Cost]] = {
        "plain PyAV loop": lambda: measure([sys.executable, "-c", PLAIN_LOOP, size, rate, *files]),
        "ffmpeg a video, pipe": lambda: measure(
            [sys.executable, "-c", FFMPEG_LOOP, size, rate, find_ffmpeg().path, *files]
        ),
        "vgan ingest, whole": lambda: ingest(folder, place, fps, options.size, workers=1),
    }
    costs: dict[str, list[Cost]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, call in ways.items():
            costs[way].append(call())
    frames = int(costs["plain PyAV loop"][0].output)
    plain = statistics.median(cost.cpu for cost in costs["plain PyAV loop"])
    kept = f"{fps:g} per second"
    for way in ways:
        cpu = statistics.median(cost.cpu for cost in costs[way])
        print(f"| {name} | {kept} | {way} | {cpu / frames * 1000:.3f} | {cpu / plain:.2f} |", flush=True)


def compare_workers(folder: Path, place: Path, options: argparse.Namespace) -> None:
    """Print what a second worker brings, and how much memory the largest process took."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    peak = 0.0
    for _ in range(options.rounds):
        for workers, taken in walls.items():
            cost = ingest(folder, place, options.fps[0], options.size, workers=workers)
            taken.append(cost.wall)
            peak = max(peak, cost.peak_mb)
    one, two = (statistics.median(walls[workers]) for workers in (1, 2))
    print(f"\ntwo workers: {one / two:.2f} x one; largest process {peak:.0f} MB")


def ingest(folder: Path, place: Path, fps: float, size: int, *, workers: int) -> Cost:
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        command = [
            sys.executable,
            "-c",
            "from flows.cli.app import main; main()",
            "ingest",
            "--name",
            "bench",
            "--json",
        ]
        command += ["--videos", str(place), "--workspace", workspace, "--fps", str(fps), "--workers", str(workers)]
        command += ["--height", str(size), "--width", str(size), "--max-rejected", "1"]
        cost = measure(command)
        told = json.loads(cost.output.splitlines()[-1])
        # One video cannot be split; all the work has been done by then.
        if "error" in told and "cannot be split" not in told["error"]["message"]:
            raise SystemExit(f"vgan ingest failed: {told}")
        return cost


def measure(command: list[str]) -> Cost:
    """Run a command to its end and add up what it and its children took."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watcher = PeakMemory(process.pid)
    watcher.start()
    output, _ = process.communicate()
    watcher.stopped.set()
    watcher.join()
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, wall, watcher.peak / 2**20, output)


class PeakMemory(threading.Thread):
    """Looks at the resident memory of a process and all below it, ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.stopped = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            try:
                family = [self.process, *self.process.children(recursive=True)]
                self.peak = max(self.peak, *(process.memory_info().rss for process in family))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


if __name__ == "__main__":
    main()
