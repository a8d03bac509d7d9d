"""How a preset trains: constants, and schedules as functions of the share of the budget that is done.

Every schedule counts clips seen, so that a two-minute and a two-day run share one recipe.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..config import Spec

MEASURED_PIXELS = 8 * 32 * 32  # of the clips for which the penalties' default weights were found


class Recipe(Spec):
    """The constants of a run; all shares are of the whole budget in clips."""

    batch: int = Field(default=8, ge=2, description="Real clips in one step; as many generated ones.")
    lr_generator: float = Field(default=5e-4, gt=0, description="Adam step size of the generator at its peak.")
    lr_discriminator: float = Field(default=8e-4, gt=0, description="Adam step size of the discriminator at its peak.")
    beta2: float = Field(default=0.99, gt=0, lt=1, description="Adam's second decay; the first is 0.")
    warmup_clips: int = Field(
        default=480, ge=0, description="Clips over which the step sizes rise from 0; at most a 20th of the budget."
    )
    decay_from: float = Field(
        default=1 / 4, ge=0, le=1, description="Share after which the step sizes fall to 0, linearly."
    )
    gamma_start: float = Field(
        default=10.0, gt=0, description="Weight of R1 and R2 (means over frames) at the beginning."
    )
    gamma_end: float = Field(default=0.1, gt=0, description="Their weight in the end.")
    gamma_halves: float = Field(
        default=3000.0, gt=0, description="Clips in which that weight halves, until it is what it is in the end."
    )
    penalty: Literal["exact", "finite"] = Field(
        default="exact",
        description="R1 and R2 by a second derivative, or estimated from the logit of a clip nearby.",
    )
    penalty_every: int = Field(
        default=1, ge=1, le=64, description="Steps from one penalty to the next; its weight is multiplied by them."
    )
    penalty_sigma: float = Field(
        default=0.1, gt=0, le=1, description="How far the clip nearby is, in standard deviations of its noise."
    )
    updates: Literal["alternating", "simultaneous"] = Field(
        default="simultaneous",
        description="Whether the generator learns from the discriminator after its update, or from the one before it, "
        "which saves the generator passes of its own.",
    )
    clip_norm: float = Field(default=1.0, gt=0, description="Gradients longer than this are shortened to it.")
    ema_clips: float = Field(default=2000.0, gt=0, description="Longest half-life of the averaged generator, in clips.")
    ema_share: float = Field(
        default=0.1, gt=0, le=1, description="Longest half-life as a share of the clips seen so far."
    )

    def learning_rates(self, clips: int, budget: int) -> tuple[float, float]:
        """Step sizes of generator and discriminator for the step that starts after `clips` clips."""
        warmup = min(self.warmup_clips, budget / 20)
        rise = min(1.0, (clips + self.batch) / warmup) if warmup else 1.0
        left = (1 - clips / budget) / (1 - self.decay_from) if self.decay_from < 1 else 1.0
        factor = rise * max(0.0, min(1.0, left))
        return self.lr_generator * factor, self.lr_discriminator * factor

    def gamma(self, clips: int) -> float:
        """Weight of the gradient penalties of the step that starts after `clips` clips.

        By clips and not by the share of the budget: what the penalty holds back, a discriminator that shows the way
        from afar, is over as soon as things are where they should be, however long the run.
        """
        return max(self.gamma_end, self.gamma_start * 0.5 ** (clips / self.gamma_halves))

    def ema_decay(self, clips: int) -> float:
        """How much of the average survives the step that ends with `clips` clips seen (EDM2, arXiv 2312.02696)."""
        half_life = min(self.ema_clips, self.ema_share * clips)
        return 0.5 ** (self.batch / half_life)


def recipe_for(preset: str, batch: int | None, pixels: int = MEASURED_PIXELS) -> Recipe:
    """The recipe of a preset.

    The same clip in twice the pixels has a gradient half as long in each, and so half the sum of its squares: the
    penalties' weight grows with the number of pixels.

    Args:
        preset: its name.
        batch: replaces the preset's; None does not.
        pixels: of all frames of a clip.
    """
    finer, plain = pixels / MEASURED_PIXELS, Recipe()
    return Recipe(
        batch=batch or {"tiny": 8, "small": 32, "base": 64}[preset],
        gamma_start=plain.gamma_start * finer,
        gamma_end=plain.gamma_end * finer,
    )
