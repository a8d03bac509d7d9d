"""One training step: discriminator, then generator, then the average.

On a GPU the host never waits for the device in a step: random numbers travel from pinned memory,
figures and the check of them stay where they are (figures.py, guard.py).

Shapes: B clips (of this rank), Z latent, C channels, T frames, F frames looked at, H height, W width.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.interface import Discriminator, Generator
from ..models.spatial import drawn
from .augment import Augmentation, Draws, augment
from .compiling import Passes
from .distributed import ALONE, World
from .ema import update_average
from .figures import Figures
from .guard import CHECK_EVERY, Guard
from .losses import discriminator_loss, generator_loss, generator_slopes, gradient_of, nearby_norms, squared_norms
from .recipe import Recipe
from .streaks import Streaks

FUSED = ("cpu", "cuda")  # devices whose Adam is one kernel


@dataclass
class TrainState:
    """All that changes while training, which is what a checkpoint holds; and below `steps`, how it is computed."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    adam_generator: torch.optim.Adam
    adam_discriminator: torch.optim.Adam
    augmentation: Augmentation
    streaks: Streaks
    passes: Passes
    guard: Guard
    world: World = ALONE
    steps: int = 0

    @classmethod
    def start(
        cls,
        generator: Generator,
        discriminator: Discriminator,
        recipe: Recipe,
        *,
        world: World = ALONE,
        compiled: bool = False,
    ) -> TrainState:
        """The state before the first step; the average starts as a copy of the generator.

        Args:
            generator: on the device that trains.
            discriminator: likewise.
            recipe: constants and schedules.
            world: the processes that train together.
            compiled: compile the networks at the first step.
        """
        average = copy.deepcopy(generator).requires_grad_(False)
        device = next(generator.parameters()).device
        passes = Passes(generator, discriminator, compiled=compiled)
        return cls(
            generator,
            discriminator,
            average,
            _adam(generator, recipe, device),
            _adam(discriminator, recipe, device),
            Augmentation.start(device),
            Streaks.start(),
            passes,
            Guard(device),
            world,
        )


def _adam(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Adam:
    fused = device.type in FUSED
    return torch.optim.Adam(model.parameters(), betas=(0.0, recipe.beta2), fused=fused, foreach=not fused)


def step_seed(seed: int, step: int, use: str) -> int:
    """A seed (63 bits) that depends on these three alone: an interrupted run draws what an undisturbed one draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{use}".encode()).digest()[:8], "big") >> 1


def to_unit(video: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return video.float().div_(127.5).sub_(1.0)


@dataclass(frozen=True)
class _Lesson:
    """What both networks learn from in one step."""

    real_BCTHW: Tensor  # as the discriminator sees it
    fake_BCTHW: Tensor  # likewise, with its graph through the generator
    label_B: Tensor | None
    moments_BF: Tensor  # frames of both that are looked at one by one
    seed: int
    gamma: float
    bf16: bool


@dataclass(frozen=True)
class _Judgement:
    """What the discriminator said in its own step, without a graph."""

    real_B: Tensor
    fake_B: Tensor
    slope_BCTHW: Tensor | None  # gradient of fake_B by the generated clips, where the generator learns from it
    figures: dict[str, Tensor]


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
) -> Mapping[str, float]:
    """Take one step in place and return its figures.

    Args:
        state: changed in place; `state.steps` tells where in the budget the step is.
        recipe: constants and schedules.
        real_BCTHW: uint8 real clips: this rank's part of the batch.
        label_B: their classes; the generated clips take the same ones, so that pairs share a class.
        seed: of the run.
        budget: clips of the whole run.
        bf16: run the networks' bodies in bfloat16; losses, penalties and weights stay float32.
        adaptive: augment what the discriminator sees, with the state's probability, and adapt that.

    Raises:
        DivergedError: a loss or gradient is not finite; the weights and the optimizers are as before that update.
            On a GPU it comes some steps later, and nothing has changed since (guard.py).
    """
    clips = state.steps * recipe.batch
    rates = recipe.learning_rates(clips, budget)
    for adam, rate in zip((state.adam_generator, state.adam_discriminator), rates, strict=True):
        adam.param_groups[0]["lr"] = rate
    real_BCTHW = to_unit(real_BCTHW)
    z_BZ = _latents(state, len(real_BCTHW), seed, real_BCTHW.device)
    fake_BCTHW = state.passes.generate(z_BZ, label_B, bf16)
    if adaptive:
        real_BCTHW, fake_BCTHW = _augmented(state, real_BCTHW, fake_BCTHW, seed)
    gamma = recipe.gamma(clips)
    moments_BF = drawn_moments(state, len(real_BCTHW), seed, real_BCTHW.device)
    lesson = _Lesson(real_BCTHW, fake_BCTHW, label_B, moments_BF, seed, gamma, bf16)
    judgement = _discriminator_step(state, recipe, lesson)
    figures = judgement.figures | _generator_step(state, recipe, lesson, judgement)
    if adaptive:
        state.augmentation.adapt(figures["told_apart"], recipe.batch, budget)
        figures["augment_probability"] = state.augmentation.probability.clone()
    state.steps += 1
    update_average(state.average, state.generator, recipe.ema_decay(clips + recipe.batch))
    if state.steps % CHECK_EVERY == 0:
        state.guard.read()
    return Figures(figures, {"gamma": gamma, "lr": rates[0]}, state.guard.read)


def _latents(state: TrainState, num: int, seed: int, device: torch.device) -> Tensor:
    """[B, Z]: this rank's part of the latents of the whole batch, drawn on the CPU: the same for every device."""
    random = torch.Generator().manual_seed(step_seed(seed, state.steps, "latent"))
    batch = num * state.world.size
    return _to(device, torch.randn(batch, state.generator.latent, generator=random)[state.world.part(batch)])


def drawn_moments(state: TrainState, num: int, seed: int, device: torch.device) -> Tensor:
    """[B, F]: the frames to look at in each clip of this rank's part of the batch, drawn on the CPU as latents are."""
    random = torch.Generator().manual_seed(step_seed(seed, state.steps, "moments"))
    batch = num * state.world.size
    moments_BF = drawn(batch, state.discriminator.shape.frames, state.discriminator.looks, random)
    return _to(device, moments_BF[state.world.part(batch)].contiguous())


def _to(device: torch.device, drawn: Tensor) -> Tensor:
    """From the CPU, without waiting for the device."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


def _augmented(state: TrainState, real_BCTHW: Tensor, fake_BCTHW: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """What both networks' steps show the discriminator, each clip with a draw of its own."""
    batch = len(real_BCTHW) * state.world.size
    part, probability = state.world.part(batch), state.augmentation.probability
    draws = Draws.of(2 * batch, torch.Generator().manual_seed(step_seed(seed, state.steps, "augment")))
    real, fake = (draws.clips(first + part.start, first + part.stop) for first in (0, batch))
    return augment(real_BCTHW, probability, real), augment(fake_BCTHW, probability, fake)


def _discriminator_step(state: TrainState, recipe: Recipe, lesson: _Lesson) -> _Judgement:
    """Loss and, when it is due, the penalty, from one pass over real and generated clips; then its update."""
    logits_B, norms_B, slope_BCTHW = _judged(state, recipe, lesson)
    real_B, fake_B = logits_B.chunk(2)
    loss = total = discriminator_loss(real_B, fake_B)
    real_B, fake_B = real_B.detach(), fake_B.detach()
    figures = {
        "loss_d": loss.detach(),
        "gap": (real_B - fake_B).mean(),
        "told_apart": (real_B > fake_B).float().mean(),
    }
    if norms_B is not None:
        r1, r2 = (half.mean() for half in norms_B.chunk(2))
        total = loss + lesson.gamma * recipe.penalty_every / 2 * (r1 + r2)
        figures |= {"r1": r1.detach(), "r2": r2.detach()}
    state.adam_discriminator.zero_grad(set_to_none=True)
    total.backward()  # pyright: ignore[reportUnknownMemberType]
    figures["grad_d"] = _update(state, "discriminator", recipe, figures)
    return _Judgement(real_B, fake_B, slope_BCTHW, figures)


def _judged(state: TrainState, recipe: Recipe, lesson: _Lesson) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Logits of real and generated clips [2 B], the penalty's norms [2 B] if it is due, and the generator's slope."""
    video_BCTHW = torch.cat([lesson.real_BCTHW, lesson.fake_BCTHW.detach()])
    label_B = None if lesson.label_B is None else torch.cat([lesson.label_B, lesson.label_B])
    moments_BF = torch.cat([lesson.moments_BF, lesson.moments_BF])
    due = (state.steps + 1) % recipe.penalty_every == 0
    teaches = recipe.updates == "simultaneous"
    if due and recipe.penalty == "exact":
        logits_B, gradient_BCTHW = state.passes.judge_with_gradient(video_BCTHW, label_B, moments_BF, lesson.bf16)
        slope_BCTHW = gradient_BCTHW.detach().chunk(2)[1] if teaches else None
        return logits_B, squared_norms(gradient_BCTHW), slope_BCTHW
    video_BCTHW.requires_grad_(teaches)
    norms_B = None
    if due:
        noise_BCTHW = _noise(state, video_BCTHW, lesson.seed)
        nearby_BCTHW = video_BCTHW.detach() + recipe.penalty_sigma * noise_BCTHW
        labels_B = None if label_B is None else torch.cat([label_B, label_B])
        both_BCTHW, both_BF = torch.cat([video_BCTHW, nearby_BCTHW]), torch.cat([moments_BF, moments_BF])
        logits_B, nearby_B = state.passes.judge(both_BCTHW, labels_B, both_BF, lesson.bf16).chunk(2)
        norms_B = nearby_norms(logits_B, nearby_B, recipe.penalty_sigma, video_BCTHW.shape[2])
    else:
        logits_B = state.passes.judge(video_BCTHW, label_B, moments_BF, lesson.bf16)
    if not teaches:
        return logits_B, norms_B, None
    return logits_B, norms_B, gradient_of(logits_B, video_BCTHW, differentiable=False).chunk(2)[1]


def _noise(state: TrainState, video_BCTHW: Tensor, seed: int) -> Tensor:
    """Standard normal numbers for real and generated clips, drawn on their device: they are too many to travel."""
    random = torch.Generator(video_BCTHW.device).manual_seed(step_seed(seed, state.steps, "nearby"))
    batch = len(video_BCTHW) // 2 * state.world.size
    noise = torch.randn(2, batch, *video_BCTHW.shape[1:], generator=random, device=video_BCTHW.device)
    return noise[:, state.world.part(batch)].flatten(0, 1)


def _generator_step(state: TrainState, recipe: Recipe, lesson: _Lesson, judgement: _Judgement) -> dict[str, Tensor]:
    """The generator's update; the fake of the discriminator's step is used again, with its graph."""
    state.adam_generator.zero_grad(set_to_none=True)
    if judgement.slope_BCTHW is not None:
        loss = generator_loss(judgement.real_B, judgement.fake_B)
        slopes_B = generator_slopes(judgement.real_B, judgement.fake_B)
        lesson.fake_BCTHW.backward(slopes_B.reshape(-1, 1, 1, 1, 1) * judgement.slope_BCTHW)  # pyright: ignore[reportUnknownMemberType]
    else:
        loss = _against_updated(state, lesson)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
    figures = {"loss_g": loss.detach()}
    return figures | {"grad_g": _update(state, "generator", recipe, figures)}


def _against_updated(state: TrainState, lesson: _Lesson) -> Tensor:
    """The generator's loss under the discriminator as it is after its update."""
    state.discriminator.requires_grad_(False)
    try:
        with torch.no_grad():
            real_B = state.passes.judge(lesson.real_BCTHW, lesson.label_B, lesson.moments_BF, lesson.bf16)
        fake_B = state.passes.judge(lesson.fake_BCTHW, lesson.label_B, lesson.moments_BF, lesson.bf16)
    finally:
        state.discriminator.requires_grad_(True)
    return generator_loss(real_B, fake_B)


def _update(state: TrainState, network: str, recipe: Recipe, figures: dict[str, Tensor]) -> Tensor:
    """One Adam step on the gradients that a backward has left; returns their length before they were shortened.

    Gradients, and the figures in place, become the means over the ranks first: so the norm, the check and
    the update are the same on each.
    """
    model, adam, loss = (
        (state.generator, state.adam_generator, "loss_g")
        if network == "generator"
        else (state.discriminator, state.adam_discriminator, "loss_d")
    )
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    state.world.mean_([*(parameter.grad for parameter in parameters if parameter.grad is not None), *figures.values()])
    norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
    state.guard.check(network, state.steps, figures[loss], norm)
    if state.guard.deferred:
        adam.found_inf = state.guard.tripped  # pyright: ignore[reportAttributeAccessIssue]: how GradScaler tells it
    adam.step()  # pyright: ignore[reportUnknownMemberType]
    return norm
