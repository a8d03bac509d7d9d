"""How soon a discriminator tells squares from discs, with and without a closer look at single frames.

    python benchmarks/kinds.py                      # 4,800 squares and as many discs, one thread, four minutes
    python benchmarks/kinds.py --clips 9600

What a discriminator cannot learn when it is told the answer, no generator learns from it. So it is told: squares are
its real clips and discs its generated ones, with the pairing loss and the penalty of training, and every size and path
occurs with both. The share of clips on the right side of the median is that of those trained on and of others.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vgan.data.shapes import render_video
from vgan.models.network import ClipShape, r3_network
from vgan.models.r3 import R3DiscriminatorNetwork
from vgan.models.spatial import drawn
from vgan.training.losses import discriminator_loss, gradient_norms
from vgan.training.recipe import Recipe
from vgan.training.step import to_unit

TRAINED, OTHERS, FRAMES, SIZE = 476, 300, 8, 32
LINES = 5


@dataclass(frozen=True)
class Clips:
    video_BCTHW: Tensor
    square_B: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4800, help="squares shown, and as many discs (default: 4800)")
    parser.add_argument(
        "--looks",
        type=int,
        nargs="+",
        choices=range(FRAMES + 1),
        default=[0, 2],
        help="frames looked at (default: 0 and 2)",
    )
    parser.add_argument("--gamma", type=float, default=0.5, help="weight of the penalty (default: .5)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: 0)")
    options = parser.parse_args()
    if options.clips < LINES * Recipe().batch:
        parser.error(f"--clips must be {LINES * Recipe().batch} or more")
    torch.set_num_threads(1)
    trained, others = draw(0, TRAINED), draw(1, OTHERS)
    print("| looks | clips shown | right of those trained on | right of others | ms a step |\n|---|---|---|---|---|")
    for looks in options.looks:
        run(looks, options, trained, others)


def draw(seed: int, count: int) -> Clips:
    """The first clips of a seed of `shapes`."""
    videos = [render_video(seed, index, size=SIZE, frames=FRAMES) for index in range(count)]
    video_BTHWC = torch.from_numpy(np.stack([frames for frames, _ in videos]))
    square_B = torch.tensor([shape.kind == "square" for _, shape in videos])
    return Clips(to_unit(video_BTHWC.permute(0, 4, 1, 2, 3)), square_B)


def run(looks: int, options: argparse.Namespace, trained: Clips, others: Clips) -> None:
    """Train one discriminator and print its lines."""
    torch.manual_seed(options.seed)
    recipe, shape = Recipe(), ClipShape(frames=FRAMES, height=SIZE, width=SIZE)
    network = r3_network("tiny", shape).discriminator.model_copy(update={"looks": looks})
    discriminator = R3DiscriminatorNetwork(network, shape)
    adam = torch.optim.Adam(discriminator.parameters(), lr=recipe.lr_discriminator, betas=(0.0, recipe.beta2))
    kinds = [torch.nonzero(trained.square_B == kind)[:, 0] for kind in (True, False)]
    steps, seconds = options.clips // recipe.batch, 0.0
    for step in range(1, steps + 1):
        start = time.perf_counter()
        chosen = torch.cat([kind[torch.randint(len(kind), (recipe.batch,))] for kind in kinds])
        video_BCTHW = trained.video_BCTHW[chosen].requires_grad_()
        moments_BF = drawn(recipe.batch, FRAMES, looks).repeat(2, 1)
        logits_B = discriminator(video_BCTHW, None, moments_BF)
        penalty = gradient_norms(logits_B, video_BCTHW).chunk(2)
        loss = discriminator_loss(*logits_B.chunk(2)) + options.gamma / 2 * (penalty[0].mean() + penalty[1].mean())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        seconds += time.perf_counter() - start
        if step % (steps // LINES) == 0:
            known, unknown = right(discriminator, trained), right(discriminator, others)
            clips = step * recipe.batch
            print(f"| {looks} | {clips:,} | {known:.2f} | {unknown:.2f} | {1000 * seconds / step:.0f} |", flush=True)


@torch.no_grad()
def right(discriminator: R3DiscriminatorNetwork, clips: Clips) -> float:
    """Share of clips whose logit is on the right side of the median."""
    logits_B = torch.cat([discriminator(part_BCTHW) for part_BCTHW in clips.video_BCTHW.split(100)])
    return ((logits_B > logits_B.median()) == clips.square_B).float().mean().item()


if __name__ == "__main__":
    main()
