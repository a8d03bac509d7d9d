"""The networks' passes, as they are or compiled.

torch.compile cannot differentiate twice through a compiled network (aot_autograd, torch 2.13). The
exact penalty is compiled all the same: with `torch.func.grad` inside the compiled function the first
derivative is traced as a part of its forward, and only one backward through it is left.

Shapes: B clips, Z latent, C channels, T frames, F frames looked at one by one, H height, W width.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value

from ..errors import MissingToolError
from ..models.interface import Discriminator, Generator
from .losses import gradient_of

log = logging.getLogger(__name__)

Pass = Callable[..., Any]


def autocast(device: str, bf16: bool) -> contextlib.AbstractContextManager[object]:
    """bfloat16 inside, when asked for."""
    return torch.autocast(device, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


class Passes:
    """How a step calls its networks.

    Args:
        generator: makes clips.
        discriminator: scores them.
        compiled: by torch.compile, at the first call of each pass; the shapes must not change.
        backend: of torch.compile.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, *, compiled: bool = False, backend: str = "inductor"
    ) -> None:
        self.compiled = compiled
        self._generator, self._discriminator = generator, discriminator
        self._generate: Pass = generator
        self._judge: Pass = discriminator
        self._slopes: Pass = self._traced_slopes if compiled else self._eager_slopes
        if compiled:
            self._generate, self._judge, self._slopes = (
                torch.compile(call, backend=backend, dynamic=False)  # pyright: ignore[reportUnknownMemberType]
                for call in (self._generate, self._judge, self._slopes)
            )

    def generate(self, z_BZ: Tensor, label_B: Tensor | None, bf16: bool) -> Tensor:
        """Clips [B, 3, T, H, W]."""
        with autocast(z_BZ.device.type, bf16):
            return self._generate(z_BZ, label_B)

    def judge(self, video_BCTHW: Tensor, label_B: Tensor | None, moments_BF: Tensor, bf16: bool) -> Tensor:
        """Logits [B]; differentiable once when compiled."""
        with autocast(video_BCTHW.device.type, bf16):
            return self._judge(video_BCTHW, label_B, moments_BF)

    def judge_with_gradient(
        self, video_BCTHW: Tensor, label_B: Tensor | None, moments_BF: Tensor, bf16: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits [B] and their gradients by the clips [B, 3, T, H, W], both differentiable by the weights."""
        return self._slopes(video_BCTHW, label_B, moments_BF, bf16)

    def _eager_slopes(
        self, video_BCTHW: Tensor, label_B: Tensor | None, moments_BF: Tensor, bf16: bool
    ) -> tuple[Tensor, Tensor]:
        video_BCTHW = video_BCTHW.detach().requires_grad_()
        logits_B = self.judge(video_BCTHW, label_B, moments_BF, bf16)
        return logits_B, gradient_of(logits_B, video_BCTHW, differentiable=True)

    def _traced_slopes(
        self, video_BCTHW: Tensor, label_B: Tensor | None, moments_BF: Tensor, bf16: bool
    ) -> tuple[Tensor, Tensor]:
        def total(video_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
            with autocast(video_BCTHW.device.type, bf16):
                logits_B = self._discriminator(video_BCTHW, label_B, moments_BF)
            return logits_B.sum(), logits_B

        gradient_BCTHW, (_, logits_B) = grad_and_value(total, has_aux=True)(video_BCTHW)
        return logits_B, gradient_BCTHW


def pick_fastest_kernels(device: torch.device) -> None:
    """Let cuDNN try its convolutions and take the fastest: shapes never change, so that is done once for each."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def should_compile(asked: str, device: torch.device) -> bool:
    """Whether to compile.

    'auto' compiles on CUDA alone: on a CPU it takes minutes and the small networks became slower (docs/benchmarks.md).

    Raises:
        MissingToolError: 'on' for a CPU without a C++ compiler.
    """
    if asked == "on" and device.type == "cpu" and not has_compiler():
        raise MissingToolError(
            "--compile on needs a C++ compiler, and none was found.", hint="Install g++, or take --compile off."
        )
    return asked == "on" or (asked == "auto" and device.type == "cuda")


def tell_of_compiling(asked: str, device: torch.device) -> None:
    """Say, before the first step, why it does not come for long; who supervises this process hands it on."""
    if should_compile(asked, device):
        log.info("compiling the networks, which can take minutes before the first step")


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False
