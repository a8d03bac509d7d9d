"""One of several processes that train the toy networks together: `python toy_ranks.py FILE` writes FILE<rank>."""

import hashlib
import json
import sys
from pathlib import Path

import torch
from toy_networks import toy_clips, toy_networks

from vgan.training.distributed import ALONE, World, joined
from vgan.training.recipe import Recipe
from vgan.training.step import TrainState, train_step

STEPS = 12
RECIPE = Recipe(
    batch=4, warmup_clips=20, lr_generator=1e-3, lr_discriminator=8e-4, gamma_start=16.0, gamma_end=1.6,
    updates="alternating",
)  # fmt: skip
CHOICES = [{}, {"updates": "simultaneous", "penalty_every": 2}, {"penalty": "finite"}]


def toy_training(world: World = ALONE) -> tuple[list[list[dict[str, float]]], str]:
    """The figures of each step of each choice, and a digest of all weights and averages at the end."""
    lines, digest = [], hashlib.sha256()
    for choice in CHOICES:
        recipe = RECIPE.model_copy(update=choice)
        state = TrainState.start(*toy_networks(), recipe, world=world)
        part = world.part(recipe.batch)
        figures = []
        for step in range(STEPS):
            video_BCTHW, label_B = toy_clips(step)
            clips = video_BCTHW[part], label_B[part]
            figures.append(dict(train_step(state, recipe, *clips, seed=2, budget=400, bf16=False, adaptive=True)))
        lines.append(figures)
        for model in (state.generator, state.discriminator, state.average):
            for weight in model.parameters():
                digest.update(weight.detach().numpy().tobytes())
    return lines, digest.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu") as world:
        found = toy_training(world)
        Path(f"{sys.argv[1]}{world.rank}").write_text(json.dumps(found))
