"""Two fixed random embeddings of clips: nothing is learnt, so nothing has to be downloaded or trusted.

`embed` sends clips through a small 3D convolutional network whose weights are drawn once from a
seeded generator and never trained. Random convolutional features keep enough of a picture's
statistics to tell distributions apart (Naeem et al. 2020, section 4, use them for the same end),
but they know nothing of what people find important. This is not FVD and not comparable with it.

Half of the filters of the first layer sum to zero over time: they answer to change alone. Pooling
keeps mean, standard deviation and change over time of every channel, so that a frozen or a
shuffled clip lands elsewhere than the real one, which mean pooling alone would hide.

Shapes: N clips, C channels, T frames, H height, W width, D embedding.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

VERSION = 1  # raise whenever the same weights would give other features
SEED = 20_260_802
CHANNELS = (16, 32, 48)
MAX_SIDE = 64  # larger clips are averaged down, so what is finer than that is not seen
BATCH_FRAMES = 256  # frames at once: some 60 MB of activations at 64 x 64

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Embedding:
    """Features of N clips: pooled activations in blocks, one block for each layer and kind of pooling."""

    clip_ND: Float  # of the frames: what is to be seen and how it moves
    motion_ND: Float  # of the differences of neighbouring frames: how it moves, less of what it is

    def __len__(self) -> int:
        return len(self.clip_ND)

    def __getitem__(self, indices: NDArray[np.int64] | slice) -> Embedding:
        return Embedding(self.clip_ND[indices], self.motion_ND[indices])

    @classmethod
    def join(cls, parts: list[Embedding]) -> Embedding:
        """One embedding of all clips of `parts`, in order."""
        return cls(np.concatenate([p.clip_ND for p in parts]), np.concatenate([p.motion_ND for p in parts]))


@functools.cache
def weights() -> tuple[Tensor, ...]:
    """The fixed kernels [out, in, 3, 3, 3], He-scaled normal.

    Drawn by numpy, whose normal numbers are equal on every machine; torch's depend on the CPU's vector units.
    """
    rng = np.random.default_rng(SEED)
    kernels: list[Tensor] = []
    channels_in = 3
    for channels_out in CHANNELS:
        kernel = rng.standard_normal((channels_out, channels_in, 3, 3, 3))
        if not kernels:
            half = channels_out // 2
            kernel[:half] -= kernel[:half].mean(axis=2, keepdims=True)
        kernels.append(torch.as_tensor((kernel * (2 / (channels_in * 27)) ** 0.5).astype(np.float32)))
        channels_in = channels_out
    return tuple(kernels)


@functools.cache
def fingerprint() -> str:
    """16 hex digits of the sha256 over version and weights: part of the protocol's name."""
    digest = hashlib.sha256(f"{VERSION},{SEED},{CHANNELS},{MAX_SIDE}".encode())
    for kernel in weights():
        digest.update(kernel.numpy().tobytes())
    return digest.hexdigest()[:16]


def clip_blocks() -> tuple[int, ...]:
    """Widths of the blocks of `Embedding.clip_ND`, in order."""
    return (*_pooled_blocks(), CHANNELS[-1] * 4, *_flow_blocks())


def motion_blocks() -> tuple[int, ...]:
    """Widths of the blocks of `Embedding.motion_ND`, in order."""
    return (*_pooled_blocks(), *_flow_blocks())


def _pooled_blocks() -> tuple[int, ...]:
    return tuple(width for channels in CHANNELS for width in (channels,) * 3)


def _flow_blocks() -> tuple[int, ...]:
    return tuple(channels * 2 for channels in CHANNELS[1:])


def embed(clips_NTHWC: UInt8) -> Embedding:
    """Embed RGB clips of at least two frames and 16 x 16 pixels.

    Deterministic on one machine; runs in batches of 256 frames, so memory does not grow with N.

    Args:
        clips_NTHWC: uint8 [N, T, H, W, 3], RGB.

    Raises:
        ValueError: another dtype or shape.
    """
    check_clips(clips_NTHWC)
    parts = [_embed_batch(batch) for batch in _batches(clips_NTHWC)]
    return Embedding.join(parts)


def check_clips(clips_NTHWC: UInt8) -> None:
    """Raise ValueError unless these are uint8 [N >= 1, T >= 2, H, W, 3]."""
    shape = clips_NTHWC.shape
    if clips_NTHWC.dtype != np.uint8 or len(shape) != 5 or shape[-1] != 3 or shape[0] < 1 or shape[1] < 2:
        raise ValueError(f"clips must be uint8 [N, T >= 2, H, W, 3], not {clips_NTHWC.dtype} {list(shape)}")


def _batches(clips_NTHWC: UInt8) -> Iterator[Tensor]:
    step = max(1, BATCH_FRAMES // clips_NTHWC.shape[1])
    for start in range(0, len(clips_NTHWC), step):
        batch = torch.as_tensor(np.ascontiguousarray(clips_NTHWC[start : start + step]))
        yield _fit(batch.permute(0, 4, 1, 2, 3).float() / 255)


def _fit(clips_NCTHW: Tensor) -> Tensor:
    """Average clips down to at most MAX_SIDE pixels a side; smaller ones stay as they are."""
    t, h, w = clips_NCTHW.shape[2:]
    if max(h, w) <= MAX_SIDE:
        return clips_NCTHW
    scale = MAX_SIDE / max(h, w)
    return F.interpolate(clips_NCTHW, size=(t, max(8, round(h * scale)), max(8, round(w * scale))), mode="area")


def _embed_batch(clips_NCTHW: Tensor) -> Embedding:
    with torch.inference_mode():
        layers = _activations(clips_NCTHW)
        layout = F.adaptive_avg_pool2d(layers[-1].mean(2), 2).flatten(1)
        clip = torch.cat([*(_pool(layer) for layer in layers), layout], dim=1)
        changes = _activations(clips_NCTHW.diff(dim=2))
        flow = torch.cat([_flow(layer) for layer in changes[1:]], dim=1)  # the first layer's would take half the time
        motion = torch.cat([*(_pool(layer) for layer in changes), flow], dim=1)
    return Embedding(torch.cat([clip, flow], dim=1).numpy(), motion.numpy())


def _activations(clips_NCTHW: Tensor) -> list[Tensor]:
    layers: list[Tensor] = []
    signal = clips_NCTHW
    for kernel in weights():
        signal = F.leaky_relu(F.conv3d(signal, kernel, stride=(1, 2, 2), padding=1), 0.2)
        layers.append(signal)
    return layers


def _pool(layer_NCTHW: Tensor) -> Tensor:
    """Mean, standard deviation and mean absolute change per channel: [N, 3 C]."""
    mean = layer_NCTHW.mean((2, 3, 4))
    deviation = layer_NCTHW.std((2, 3, 4), correction=0)
    # Of a single frame, which the differences of a clip of two are, there is no change.
    change = layer_NCTHW.diff(dim=2).abs().mean((2, 3, 4)) if layer_NCTHW.shape[2] > 1 else torch.zeros_like(mean)
    return torch.cat([mean, deviation, change], dim=1)


def _flow(layer_NCTHW: Tensor) -> Tensor:
    """Which way the activations move, down or up and right or left: [N, 2 C], about -1 to 1.

    The opponent correlator of insect vision (Hassenstein and Reichardt 1956): what was here and is
    one step further now, less what was one step further and is here now, over the mean energy.
    """
    if layer_NCTHW.shape[2] < 2:
        return layer_NCTHW.new_zeros(len(layer_NCTHW), 2 * layer_NCTHW.shape[1])
    now, later = layer_NCTHW[:, :, :-1], layer_NCTHW[:, :, 1:]
    energy = layer_NCTHW.square().mean((2, 3, 4)) + 1e-6
    down = now[..., :-1, :] * later[..., 1:, :] - now[..., 1:, :] * later[..., :-1, :]
    right = now[..., :-1] * later[..., 1:] - now[..., 1:] * later[..., :-1]
    return torch.cat([down.mean((2, 3, 4)) / energy, right.mean((2, 3, 4)) / energy], dim=1)
