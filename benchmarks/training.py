"""How fast a training step is, beside the bare networks' forward and backward, and what the settings do to it.

    python benchmarks/training.py                     # the tables of this machine's device: a GPU if there is one
    python benchmarks/training.py --device cpu --rounds 9
    python benchmarks/training.py --tables parts,settings

The bare networks make the same forward and backward calls as a step, on ready tensors: no optimizer, average, figures,
checks, random numbers or clips. Rounds alternate between the ways, so that a slow minute hits all alike; the fastest
round counts. With `--cpu-time` it is the processor's time that counts, which on one thread bears a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vgan.config import IngestConfig
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import new_version, write_batch, write_version
from vgan.data.shards.formats import encode_clip
from vgan.data.shards.writer import Sample, write_shards
from vgan.models.families import build_discriminator, build_generator
from vgan.models.network import R3_VERSION, ClipShape, r3_network
from vgan.models.spatial import evenly_spread
from vgan.records import Batch, Dataset, GeneratorRecord
from vgan.training.budget import supports_bf16
from vgan.training.compiling import pick_fastest_kernels
from vgan.training.ema import update_average
from vgan.training.losses import discriminator_loss, generator_loss, squared_norms
from vgan.training.recipe import Recipe, recipe_for
from vgan.training.source import ClipSource
from vgan.training.step import TrainState, to_unit, train_step
from vgan.workspace import Workspace

# Dense bfloat16, as the vendor says; a GPU that is not here is compared with its own matrix product alone.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}
BUDGET = 1 << 40
CPU_TABLES, GPU_TABLES = ("step", "parts", "penalties", "settings", "loop"), ("gpu", "step", "penalties", "loop")


@dataclass
class Case:
    """Networks in some setting, and a batch for them."""

    state: TrainState
    recipe: Recipe
    real_BCTHW: Tensor  # uint8
    label_B: Tensor
    bf16: bool
    adaptive: bool = False

    @property
    def device(self) -> torch.device:
        return self.real_BCTHW.device

    def step(self) -> None:
        train_step(
            self.state,
            self.recipe,
            self.real_BCTHW,
            self.label_B,
            seed=0,
            budget=BUDGET,
            bf16=self.bf16,
            adaptive=self.adaptive,
        )

    def bare(self) -> Callable[[], None]:
        """The forward and backward calls of a step with exact penalty and alternating updates."""
        state, passes, label_B = self.state, self.state.passes, self.label_B
        real_BCTHW, labels_B = to_unit(self.real_BCTHW), torch.cat([label_B, label_B])
        z_BZ = torch.randn(len(label_B), state.generator.latent, device=self.device)
        discriminator = state.discriminator
        moments_BF = evenly_spread(len(label_B), discriminator.shape.frames, discriminator.looks).to(self.device)

        def calls() -> None:
            state.generator.zero_grad(set_to_none=True)
            state.discriminator.zero_grad(set_to_none=True)
            fake_BCTHW = passes.generate(z_BZ, label_B, self.bf16)
            video_BCTHW = torch.cat([real_BCTHW, fake_BCTHW.detach()])
            logits_B, gradient_BCTHW = passes.judge_with_gradient(
                video_BCTHW, labels_B, moments_BF.repeat(2, 1), self.bf16
            )
            penalty = squared_norms(gradient_BCTHW).sum()
            (discriminator_loss(*logits_B.chunk(2)) + penalty).backward()
            state.discriminator.requires_grad_(False)
            with torch.no_grad():
                real_B = passes.judge(real_BCTHW, label_B, moments_BF, self.bf16)
            generator_loss(real_B, passes.judge(fake_BCTHW, label_B, moments_BF, self.bf16)).backward()
            state.discriminator.requires_grad_(True)

        return calls


def make(
    options: argparse.Namespace,
    size: int,
    frames: int,
    *,
    batch: int | None = None,
    bf16: bool | None = None,
    channels_last: bool = True,
    compiled: bool = False,
    adaptive: bool = False,
    **recipe: object,
) -> Case:
    """Networks with fresh weights and random clips, everything else as training has it."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    shape = ClipShape(frames=frames, height=size, width=size, labels=4)
    network = r3_network(options.preset, shape)
    record = GeneratorRecord(
        family="r3",
        family_version=R3_VERSION,
        network=network.generator.model_dump(mode="json"),
        labels=("a", "b", "c", "d"),
        frames=frames,
        height=size,
        width=size,
        fps=8.0,
        weights_sha256="",
        run="",
        dataset="",
        dataset_digest="",
        vgan_version="",
    )
    models = build_generator(record), build_discriminator("r3", network.discriminator.model_dump(mode="json"), shape)
    for model in models:
        if not channels_last:
            model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        model.to(device)
    chosen = Recipe.model_validate({**recipe_for(options.preset, batch, frames * size * size).model_dump(), **recipe})
    state = TrainState.start(*models, chosen, compiled=compiled)
    real_BCTHW = torch.randint(0, 256, (chosen.batch, 3, frames, size, size), dtype=torch.uint8).to(device)
    label_B = torch.arange(chosen.batch, device=device) % 4
    return Case(state, chosen, real_BCTHW, label_B, supports_bf16(device) if bf16 is None else bf16, adaptive)


def fastest(options: argparse.Namespace, ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of one call of each way: the fastest of the rounds, which alternate between the ways."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    best: dict[str, float] = {}
    for way in ways.values():
        for _ in range(options.warm):
            way()
    for _ in range(options.rounds):
        for name, way in ways.items():
            _wait(options)
            started = clock()
            for _ in range(options.calls):
                way()
            _wait(options)
            best[name] = min(best.get(name, float("inf")), (clock() - started) / options.calls)
    return best


def _wait(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def table(title: str, *columns: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(f'{cell:.3g}' if isinstance(cell, float) else str(cell) for cell in cells)} |", flush=True)


def step_table(options: argparse.Namespace) -> None:
    table("A step beside the bare networks", "clips", "bare, ms", "step, ms", "step / bare", "clips/s")
    for size, frames in options.shapes:
        case = make(options, size, frames)
        found = fastest(options, {"bare": case.bare(), "step": case.step})
        bare, step = found["bare"], found["step"]
        row(f"{case.recipe.batch} x {frames} x {size}", bare * 1e3, step * 1e3, step / bare, case.recipe.batch / step)


def parts_table(options: argparse.Namespace) -> None:
    """What a step is made of; the first part and the two losses are the bare networks."""
    size, frames = options.shapes[0]
    case = make(options, size, frames)
    state, recipe = case.state, case.recipe
    case.step()
    whole = fastest(options, {"bare": case.bare(), "step": case.step})
    case.bare()()
    adams = state.adam_generator, state.adam_discriminator
    for each in adams:
        each.param_groups[0]["lr"] = 0.0

    def adam() -> None:
        for each in adams:
            each.step()

    def norms() -> None:
        for model in (state.generator, state.discriminator):
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)

    def average() -> None:
        update_average(state.average, state.generator, 0.99)

    def pixels() -> None:
        to_unit(case.real_BCTHW)

    parts = {"Adam, both": adam, "gradient norms, both": norms, "average": average, "pixels to -1..1": pixels}
    best = fastest(options, parts)
    table(f"Parts of a step, {recipe.batch} x {frames} x {size}", "part", "ms", "share")
    row("networks' forward and backward", whole["bare"] * 1e3, whole["bare"] / whole["step"])
    for name, seconds in best.items():
        row(name, seconds * 1e3, seconds / whole["step"])
    rest = whole["step"] - whole["bare"] - sum(best.values())
    row("random numbers, figures, checks", rest * 1e3, rest / whole["step"])


def penalties_table(options: argparse.Namespace) -> None:
    size, frames = options.shapes[0]
    table(f"Penalties and order of updates, {frames} x {size}", "penalty", "every", "updates", "step, ms", "clips/s")
    asked = list(itertools.product(("exact", "finite"), (1, 4), ("alternating", "simultaneous")))
    cases = {
        key: make(options, size, frames, penalty=key[0], penalty_every=key[1], updates=key[2], adaptive=False)
        for key in asked
    }
    options.calls *= 4  # so that a lazy penalty is in each round as often as in training
    best = fastest(options, {repr(key): case.step for key, case in cases.items()})
    options.calls //= 4
    for key, case in cases.items():
        row(*key, best[repr(key)] * 1e3, case.recipe.batch / best[repr(key)])


def settings_table(options: argparse.Namespace) -> None:
    """Threads, type, memory format and compilation on a CPU."""
    size, frames = options.shapes[0]
    table(
        f"Settings, {frames} x {size}", "threads", "type", "format", "compiled", "step, ms", "clips/s", "to compile, s"
    )
    types = (False, True) if supports_bf16(torch.device("cpu")) else (False,)
    formats = (True, False)
    for threads in options.threads:
        torch.set_num_threads(threads)
        for bf16, channels_last in itertools.product(types, formats):
            case = make(options, size, frames, bf16=bf16, channels_last=channels_last)
            setting_row(options, case, threads, channels_last)
        if options.compile:
            for bf16 in types:
                case = make(options, size, frames, bf16=bf16, compiled=True)
                setting_row(options, case, threads, True)
    torch.set_num_threads(options.threads[0])


def setting_row(options: argparse.Namespace, case: Case, threads: int, channels_last: bool) -> None:
    seconds, compiled = first_step(case), case.state.passes.compiled
    best = fastest(options, {"": case.step})[""]
    kind, layout = "bf16" if case.bf16 else "fp32", "channels last" if channels_last else "contiguous"
    words = ("yes", seconds) if compiled else ("no", "")
    row(threads, kind, layout, words[0], best * 1e3, case.recipe.batch / best, words[1])


def first_step(case: Case) -> float:
    """Seconds of the first step, which compiles."""
    started = time.perf_counter()
    case.step()
    if case.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def gpu_table(options: argparse.Namespace) -> None:
    """Sizes and batches on a GPU, eager and compiled; a step that makes the host wait is an error."""
    product = matrix_product()
    name = torch.cuda.get_device_name()
    peak = next((rate for word, rate in PEAKS.items() if word in name), None)
    print(f"\n{name}: bfloat16 matrix product {product / 1e12:.0f} TFLOP/s, peak {(peak or 0) / 1e12:.0f}")
    table(
        "Sizes and batches",
        *("clips", "compiled", "step, ms", "clips/s", "TFLOP/s", "of the peak", "of the matrix product"),
        *("GiB", "to compile, s", "step / bare"),
    )
    for size, batch, compiled in itertools.product(options.sizes, options.batches, (False, True)):
        with contextlib.suppress(torch.OutOfMemoryError):
            gpu_row(options, size, batch, compiled, peak, product)
        torch.cuda.empty_cache()
        torch._dynamo.reset()


def gpu_row(
    options: argparse.Namespace, size: int, batch: int, compiled: bool, peak: float | None, product: float
) -> None:
    torch.cuda.reset_peak_memory_stats()
    work = operations(make(options, size, 16, batch=batch))
    case = make(options, size, 16, batch=batch, compiled=compiled)
    seconds = first_step(case)
    torch.cuda.set_sync_debug_mode("error")
    case.step()
    torch.cuda.set_sync_debug_mode("default")
    best = fastest(options, {"step": case.step, "bare": case.bare()})
    rate = work / best["step"]
    row(
        f"{batch} x 16 x {size}",
        "yes" if compiled else "no",
        best["step"] * 1e3,
        batch / best["step"],
        rate / 1e12,
        f"{rate / peak:.1%}" if peak else "?",
        f"{rate / product:.1%}",
        torch.cuda.max_memory_allocated() / 2**30,
        seconds if compiled else "",
        best["step"] / best["bare"],
    )


def operations(case: Case) -> float:
    """Multiplications and additions of one step, counted as it runs."""
    counter = FlopCounterMode(display=False)
    with counter:
        case.step()
    return float(counter.get_total_flops())


def matrix_product() -> float:
    """Operations a second of a large bfloat16 matrix product: what this GPU reaches at most."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(a, b)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        torch.mm(a, b)
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started)


def loop_table(options: argparse.Namespace) -> None:
    """A step with its clips out of 512 in shards: held on the device, and read ahead."""
    table("A step and its clips", "clips", "held", "step, ms", "clips/s", "waited for clips")
    for size, frames in options.shapes:
        with tempfile.TemporaryDirectory(prefix="vgan-benchmark-") as scratch:
            workspace = Workspace.open(scratch)
            clips = ClipSet(workspace.dataset("noise"), write_noise(workspace, size, frames), "train")
            for held in (True, False):
                source_row(options, make(options, size, frames), clips, held)
            clips.close()


def source_row(options: argparse.Namespace, case: Case, clips: ClipSet, held: bool) -> None:
    source = ClipSource(
        clips, case.device, batch=case.recipe.batch, seed=0, classes=False, sharing=1 if held else 1 << 40
    )
    assert (source.resident_NCTHW is not None) == held
    steps, started = options.rounds * options.calls, 0.0
    for step in range(options.warm + steps):
        if step == options.warm:
            _wait(options)
            source.waited_seconds, started = 0.0, time.perf_counter()
        case.real_BCTHW, _ = source.at(step)
        case.step()
    _wait(options)
    seconds, batch = time.perf_counter() - started, case.recipe.batch
    _, _, frames, size, _ = case.real_BCTHW.shape
    words = "on the device" if held else "in shards, read ahead"
    share = f"{source.waited_seconds / seconds:.2%}"
    row(f"{batch} x {frames} x {size}", words, seconds / steps * 1e3, batch * steps / seconds, share)
    if source._ahead is not None:
        source._ahead.close()


def write_noise(workspace: Workspace, size: int, frames: int) -> Dataset:
    folder = workspace.dataset("noise")
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (3, frames, size, size), dtype=np.uint8) for _ in range(8)]
    samples = [
        Sample(f"{index:016x}-00000", "npy", encode_clip(clips[index % 8], "npy", 8.0), {"label": None})
        for index in range(512)
    ]
    shards = tuple(write_shards(folder.shards, "train", iter(samples)))
    batch = write_batch(folder, Batch(key="0", videos=(), rejections=(), shards=shards))
    config = IngestConfig(frames=frames, height=size, width=size, format="npy")
    dataset = new_version("noise", 1, config, (), [batch])
    write_version(folder, dataset)
    return dataset


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a training step.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--preset", help="default: tiny on a CPU, small on a GPU")
    parser.add_argument("--tables", help="which, comma-separated: step, parts, penalties, settings, loop, gpu")
    parser.add_argument("--shapes", help="frames x size, comma-separated; default 8x32,16x64 or 16x64,16x128")
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 256], help="of the GPU's table")
    parser.add_argument("--batches", type=int, nargs="*", default=[16, 32, 64, 128], help="of the GPU's table")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--compile", action="store_true", help="also compile for the CPU, which takes minutes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=5, help="calls of each way in a round")
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = options.device == "cuda"
    options.preset = options.preset or ("small" if on_gpu else "tiny")
    shapes = options.shapes or ("16x64,16x128" if on_gpu else "8x32,16x64")
    options.shapes = [(int(size), int(frames)) for frames, size in (word.split("x") for word in shapes.split(","))]
    options.tables = options.tables.split(",") if options.tables else GPU_TABLES if on_gpu else CPU_TABLES
    return options


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads[0])
    pick_fastest_kernels(torch.device(options.device))
    print(f"torch {torch.__version__}, {options.device}, {platform.machine()}, preset {options.preset}")
    tables = {
        "gpu": gpu_table,
        "step": step_table,
        "parts": parts_table,
        "penalties": penalties_table,
        "settings": settings_table,
        "loop": loop_table,
    }
    for name in options.tables:
        tables[name](options)


if __name__ == "__main__":
    main()
