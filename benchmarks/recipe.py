"""Train with one thing changed and score with the probes: the referee behind the table in docs/training.md.

    vgan demo --budget 1kclips --workspace W        # once: writes and ingests the shapes
    python benchmarks/recipe.py --workspace W
    python benchmarks/recipe.py --workspace W --set batch=16 lr_discriminator=4e-4 --discriminator widths=[48,64,96]

Compare rows of equal clips; clips per second is of this process alone, on `--threads` threads.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgan.data.loading.loader import ClipSet, batch_indices
from vgan.data.manifest import load_dataset
from vgan.evaluation import probes
from vgan.media.encode import contact_sheet, write_png
from vgan.models.families import family
from vgan.models.generate import generate_clip
from vgan.models.network import ClipShape, r3_network
from vgan.training.budget import supports_bf16
from vgan.training.recipe import Recipe, recipe_for
from vgan.training.step import TrainState, train_step
from vgan.workspace import Workspace

SCORED_CLIPS = 256


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train with one thing changed and score with the probes.")
    parser.add_argument("--workspace", required=True, help="holds the ingested dataset")
    parser.add_argument("--name", default="shapes", help="dataset, made of shapes videos")
    parser.add_argument("--clips", type=int, default=9600, help="real clips to show")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=JSON", help="fields of the recipe")
    parser.add_argument("--generator", nargs="*", default=[], metavar="FIELD=JSON", help="fields of the network")
    parser.add_argument("--discriminator", nargs="*", default=[], metavar="FIELD=JSON", help="fields of the network")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here (png)")
    return parser.parse_args()


def fields(pairs: list[str]) -> dict[str, Any]:
    return {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def start(options: argparse.Namespace, shape: ClipShape) -> tuple[TrainState, Recipe]:
    torch.manual_seed(options.seed)
    network, kind = r3_network("tiny", shape), family("r3")
    recipe = Recipe(**{**recipe_for("tiny", None).model_dump(), **fields(options.set)})
    generator = kind.generator(network.generator.model_copy(update=fields(options.generator)), shape)
    discriminator = kind.discriminator(network.discriminator.model_copy(update=fields(options.discriminator)), shape)
    for model in (generator, discriminator):
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return TrainState.start(generator, discriminator, recipe), recipe


def train(options: argparse.Namespace, state: TrainState, recipe: Recipe, clips: ClipSet) -> float:
    """Train in place; returns clips per second."""
    steps, bf16 = options.clips // recipe.batch, supports_bf16(torch.device("cpu"))
    began = time.perf_counter()
    for step in range(steps):
        chosen = batch_indices(len(clips), recipe.batch, options.seed, step)
        video, label = torch.from_numpy(clips.read(chosen)), torch.from_numpy(clips.labels[chosen])
        train_step(state, recipe, video, label, seed=options.seed, budget=steps * recipe.batch, bf16=bf16)
    return steps * recipe.batch / (time.perf_counter() - began)


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    workspace = Workspace.open(options.workspace)
    dataset = load_dataset(workspace, options.name)
    clips, heldout = (ClipSet(workspace.dataset(options.name), dataset, split) for split in ("train", "heldout"))
    config = dataset.config
    shape = ClipShape(frames=config.frames, height=config.height, width=config.width, labels=len(dataset.labels))
    state, recipe = start(options, shape)
    rate = train(options, state, recipe, clips)
    labels = np.arange(SCORED_CLIPS) % shape.labels
    made = np.stack([generate_clip(state.average, seed, int(label)) for seed, label in enumerate(labels)])
    real = probes.measure(heldout.read(np.arange(len(heldout))).transpose(0, 2, 3, 4, 1))
    scores = probes.summarise(probes.measure(made), labels, real, heldout.labels)
    if options.sheet:
        write_png(options.sheet, contact_sheet(made[:16], columns=2))
    print(json.dumps({"clips_per_second": round(rate, 1), **{name: round(v, 3) for name, v in scores.items()}}))


if __name__ == "__main__":
    main()
