"""How fast clips are made, marked, encoded and written, in processor time and by the clock.

    python benchmarks/generation.py                              # tiny networks, 16 x 64 x 64, 24 clips of each kind
    python benchmarks/generation.py --size 32 --frames 8
    python benchmarks/generation.py --preset small --device cuda
    python benchmarks/generation.py --memory                     # what more clips cost in memory

The networks were never trained, which costs as much as trained ones: their clips are noisier, so files are larger
and encoders slower. Processor time counts ffmpeg's too, and says more than the clock on a machine that does other
work. Every row ran in one folder, one after the other; files are signed with a development certificate.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save

from vgan.config import SampleConfig
from vgan.errors import MissingToolError
from vgan.generation.write import write_samples
from vgan.media.films import film_bytes
from vgan.media.marking import Marking
from vgan.media.signing import Signer, find_signer
from vgan.models.families import build_generator
from vgan.models.network import R3_VERSION, ClipShape, r3_network
from vgan.records import GeneratorRecord
from vgan.sampling import Sampler
from vgan.storage import sha256_file

KINDS: tuple[tuple[Literal["mp4", "gif", "webm", "npy"], str], ...] = (
    *(("mp4", "h264"), ("mp4", "h265"), ("mp4", "av1"), ("mp4", "vp9")),
    *(("webm", "vp9"), ("webm", "av1"), ("gif", "auto"), ("npy", "auto")),
)


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="vgan-benchmark-") as scratch:
        sampler = Sampler(make_generator(Path(scratch) / "generator", options), options.device)
        signer = find_signer()
        shape = f"{options.frames} x {options.size} x {options.size}"
        print(f"{options.preset}, {options.clips} clips of {shape} at 8 fps, {options.device}, one torch thread\n")
        if options.memory:
            show_memory(sampler, Path(scratch) / "out")
            return
        show_parts(sampler, signer)
        print("\n| files | frames/s by the clock | real-time factor | processor ms a clip | kB a clip |")
        print("|---|---|---|---|---|")
        for kind, codec in KINDS:
            config = SampleConfig(num=options.clips, format=kind, codec=codec)  # type: ignore[arg-type]  one of its Literals
            show_kind(sampler, Path(scratch) / "out", config, signer)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("tiny", "small", "base"), default="tiny")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--device", choices=get_args(SampleConfig.model_fields["device"].annotation), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    return parser.parse_args()


def make_generator(folder: Path, options: argparse.Namespace) -> Path:
    """A folder with a generator that was never trained."""
    shape = ClipShape(frames=options.frames, height=options.size, width=options.size, labels=0)
    network = r3_network(options.preset, shape).generator.model_dump(mode="json")
    about: dict[str, Any] = {"run": "benchmark", "dataset": "benchmark", "dataset_digest": "", "vgan_version": "0"}
    record = GeneratorRecord(
        family="r3", family_version=R3_VERSION,
        network=network, labels=(), frames=options.frames, height=options.size, width=options.size,
        fps=8.0, weights_sha256="", **about,
    )  # fmt: skip
    torch.manual_seed(0)
    folder.mkdir()
    weights = folder / "weights.safetensors"
    weights.write_bytes(save({k: v.contiguous() for k, v in build_generator(record).state_dict().items()}))
    record = record.model_copy(update={"weights_sha256": sha256_file(weights)})
    (folder / "generator.json").write_bytes(record.to_json())
    return folder


def show_parts(sampler: Sampler, signer: Signer | None) -> None:
    """Processor time of each part of one H.264 clip."""
    marking = Marking("benchmark", "", "benchmark", signer=signer)
    wish = next(sampler.wishes(1, 0))
    clip_THWC = sampler.make(wish)
    marked_THWC = marking.watermarked(clip_THWC, 0)
    film = film_bytes(marked_THWC, 8, tags=marking.tags(0))
    parts: dict[str, Callable[[], object]] = {
        "networks": lambda: sampler.make(wish),
        "watermark": lambda: marking.watermarked(clip_THWC, 0),
        "H.264 in a process of its own": lambda: film_bytes(marked_THWC, 8, tags=marking.tags(0)),
        "XMP and C2PA signature": lambda: marking.signed(film, ".mp4", 0),
    }
    print("| part of a clip | processor ms |\n|---|---|")
    for name, part in parts.items():
        part()
        began = processor_seconds()
        for _ in range(8):
            part()
        print(f"| {name} | {(processor_seconds() - began) / 8 * 1e3:.1f} |")


def show_kind(sampler: Sampler, out: Path, config: SampleConfig, signer: Signer | None) -> None:
    """One row of the table."""
    name = config.format if config.codec == "auto" else f"{config.format}, {config.codec}"
    began = processor_seconds()
    try:
        written = write_samples(sampler, out, config, Marking("benchmark", "", "benchmark", signer=signer))
    except MissingToolError as error:
        print(f"| {name} | {error.message} | | | |")
        return
    spent = (processor_seconds() - began) / config.num
    size = sum(path.stat().st_size for path in written.clips) / config.num
    speeds = f"{written.frames_per_second:.0f} | {written.real_time_factor:.1f}"
    print(f"| {name} | {speeds} | {spent * 1e3:.0f} | {size / 1e3:.1f} |", flush=True)


def show_memory(sampler: Sampler, out: Path) -> None:
    """The peak of this process after ever more clips."""
    print("| clips | all pixels, MB | peak of the process, MB |\n|---|---|---|")
    for num in (16, 64, 256, 1024):
        began = time.perf_counter()
        clips = write_samples(sampler, out, SampleConfig(num=num, format="npy"), Marking("benchmark", "", "benchmark"))
        pixels = clips.frames * sampler.record.height * sampler.record.width * 3
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {num} | {pixels / 1e6:.1f} | {peak:.0f} |", flush=True)
        if time.perf_counter() - began > 300:
            return


def processor_seconds() -> float:
    """Of this process and of all children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


if __name__ == "__main__":
    main()
