"""One training step: discriminator, then generator, then the average.

Shapes: B clips, Z latent, C channels, T frames, H height, W width.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import DivergedError
from ..models.interface import Discriminator, Generator
from .augment import Augmentation, Draws, augment
from .ema import update_average
from .losses import discriminator_loss, generator_loss, gradient_norms
from .recipe import Recipe


@dataclass
class TrainState:
    """All that changes while training; what a checkpoint holds."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    adam_generator: torch.optim.Adam
    adam_discriminator: torch.optim.Adam
    augmentation: Augmentation
    steps: int = 0

    @classmethod
    def start(cls, generator: Generator, discriminator: Discriminator, recipe: Recipe) -> TrainState:
        """The state before the first step; the average starts as a copy of the generator."""
        average = copy.deepcopy(generator).requires_grad_(False)
        adam_generator = torch.optim.Adam(generator.parameters(), betas=(0.0, recipe.beta2), foreach=True)
        adam_discriminator = torch.optim.Adam(discriminator.parameters(), betas=(0.0, recipe.beta2), foreach=True)
        augmentation = Augmentation.start(next(generator.parameters()).device)
        return cls(generator, discriminator, average, adam_generator, adam_discriminator, augmentation)


def step_seed(seed: int, step: int, use: str) -> int:
    """A seed (63 bits) that depends on these three alone: an interrupted run draws what an undisturbed one draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{use}".encode()).digest()[:8], "big") >> 1


def to_unit(video: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return video.float().div_(127.5).sub_(1.0)


def train_step(
    state: TrainState,
    recipe: Recipe,
    real_BCTHW: Tensor,
    label_B: Tensor | None,
    *,
    seed: int,
    budget: int,
    bf16: bool,
    adaptive: bool = False,
) -> dict[str, float]:
    """Take one step in place and return its figures.

    Args:
        state: changed in place; `state.steps` tells where in the budget the step is.
        recipe: constants and schedules.
        real_BCTHW: uint8 real clips.
        label_B: their classes; the generated clips take the same ones, so that pairs share a class.
        seed: of the run.
        budget: clips of the whole run.
        bf16: run the networks' bodies in bfloat16; losses, penalties and weights stay float32.
        adaptive: augment what the discriminator sees, with the state's probability, and adapt that.

    Raises:
        DivergedError: a loss or gradient is not finite; the weights and the optimizers are as before that update.
    """
    clips = state.steps * recipe.batch
    for adam, rate in zip(
        (state.adam_generator, state.adam_discriminator), recipe.learning_rates(clips, budget), strict=True
    ):
        adam.param_groups[0]["lr"] = rate
    real_BCTHW = to_unit(real_BCTHW)
    random = torch.Generator().manual_seed(step_seed(seed, state.steps, "latent"))
    z_BZ = torch.randn(len(real_BCTHW), state.generator.latent, generator=random).to(real_BCTHW.device)
    with autocast(real_BCTHW.device.type, bf16):
        fake_BCTHW = state.generator(z_BZ, label_B)
    if adaptive:
        real_BCTHW, fake_BCTHW = _augmented(state, real_BCTHW, fake_BCTHW, seed)
    gamma = recipe.gamma(clips, budget)
    figures = _discriminator_step(state, recipe, real_BCTHW, fake_BCTHW.detach(), label_B, gamma, bf16)
    figures |= _generator_step(state, recipe, real_BCTHW, fake_BCTHW, label_B, bf16)
    if adaptive:
        state.augmentation.adapt(figures["told_apart"], recipe.batch, budget)
        figures["augment_probability"] = state.augmentation.probability.item()
    state.steps += 1
    update_average(state.average, state.generator, recipe.ema_decay(clips + recipe.batch))
    return figures | {"gamma": gamma, "lr": state.adam_generator.param_groups[0]["lr"]}


def _augmented(state: TrainState, real_BCTHW: Tensor, fake_BCTHW: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """What both networks' steps show the discriminator, each clip with a draw of its own."""
    num, probability = len(real_BCTHW), state.augmentation.probability
    draws = Draws.of(2 * num, torch.Generator().manual_seed(step_seed(seed, state.steps, "augment")))
    real, fake = draws.clips(0, num), draws.clips(num, 2 * num)
    return augment(real_BCTHW, probability, real), augment(fake_BCTHW, probability, fake)


def autocast(device: str, bf16: bool) -> contextlib.AbstractContextManager[object]:
    """bfloat16 inside, when asked for."""
    return torch.autocast(device, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def _discriminator_step(
    state: TrainState,
    recipe: Recipe,
    real_BCTHW: Tensor,
    fake_BCTHW: Tensor,
    label_B: Tensor | None,
    gamma: float,
    bf16: bool,
) -> dict[str, float]:
    video_BCTHW = torch.cat([real_BCTHW, fake_BCTHW]).requires_grad_()
    with autocast(video_BCTHW.device.type, bf16):
        logits_B = state.discriminator(video_BCTHW, None if label_B is None else torch.cat([label_B, label_B]))
    real_B, fake_B = logits_B.chunk(2)
    r1, r2 = (half.mean() for half in gradient_norms(logits_B, video_BCTHW).chunk(2))
    loss = discriminator_loss(real_B, fake_B)
    norm = _update(state.adam_discriminator, state.discriminator, loss + gamma / 2 * (r1 + r2), recipe, state.steps)
    return {
        "loss_d": loss.item(),
        "r1": r1.item(),
        "r2": r2.item(),
        "gap": (real_B - fake_B).mean().item(),
        "told_apart": (real_B > fake_B).float().mean().item(),
        "grad_d": norm,
    }


def _generator_step(
    state: TrainState, recipe: Recipe, real_BCTHW: Tensor, fake_BCTHW: Tensor, label_B: Tensor | None, bf16: bool
) -> dict[str, float]:
    # The fake of the discriminator's step is used again: its graph through the generator is still there.
    state.discriminator.requires_grad_(False)
    try:
        with autocast(real_BCTHW.device.type, bf16):
            with torch.no_grad():
                real_B = state.discriminator(real_BCTHW, label_B)
            fake_B = state.discriminator(fake_BCTHW, label_B)
    finally:
        state.discriminator.requires_grad_(True)
    loss = generator_loss(real_B, fake_B)
    norm = _update(state.adam_generator, state.generator, loss, recipe, state.steps)
    return {"loss_g": loss.item(), "grad_g": norm}


def _update(adam: torch.optim.Adam, model: nn.Module, loss: Tensor, recipe: Recipe, step: int) -> float:
    """One Adam step on `loss`; returns the gradient's length before it was shortened."""
    adam.zero_grad(set_to_none=True)
    loss.backward()  # pyright: ignore[reportUnknownMemberType]
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm))
    check_finite({f"loss of the {_kind(model)}": loss.item(), f"gradient of the {_kind(model)}": norm}.items(), step)
    adam.step()  # pyright: ignore[reportUnknownMemberType]
    return norm


def _kind(model: nn.Module) -> str:
    return "generator" if isinstance(model, Generator) else "discriminator"


def check_finite(figures: Iterable[tuple[str, float]], step: int) -> None:
    """Raise DivergedError naming the first figure that is not finite."""
    for name, value in figures:
        if not math.isfinite(value):
            raise DivergedError(
                f"the {name} is {value} at step {step + 1}.",
                hint="Train with another seed or a larger batch; the last checkpoint is kept.",
            )
