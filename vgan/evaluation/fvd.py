"""The field's own distances, FVD and KVD, by a network that the user brings as a TorchScript file.

The protocol is that of StyleGAN-V's `fvd2048_16f` (Skorokhodov et al. 2022, src/metrics): clips of 16
frames as uint8, resized by the network itself to what it was trained on, to the 400 logits of an I3D of
Kinetics-400. FVD is the Frechet distance between them (Unterthiner et al. 2018), KVD the unbiased cubic
polynomial MMD (Binkowski et al. 2018, section 2). What is done otherwise than there, and why, stands in
docs/evaluation.md, "FVD". Nothing is downloaded, and nothing else is called by these names.

It does not see: what the network was not trained to see. It weighs the content of frames far more than
their order (Ge et al. 2024), and its logits are not Gaussian, as the Frechet distance takes them to be.

Shapes: N clips, T frames, H height, W width, C = 3 colours, F = 400 features; B clips in one batch.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError
from ..storage import read_bytes
from .metrics import frechet, polynomial_distance

FEATURES = 400  # logits of Kinetics-400
FRAMES = 16  # of a clip, as the field compares them; fewer where clips are shorter
MOST = 2048  # clips on a side, as the field compares them
BATCH = 4  # clips at once: 16 frames of 224 x 224 pixels take some 200 MB of activations each
PROMISE = "Name a TorchScript file called as detector(video, rescale=True, resize=True, return_features=True)."

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Detector:
    """A network whose file has the promised hash, and that was seen to give features of this shape of clips."""

    module: Any  # torch.jit.ScriptModule
    sha256: str
    device: torch.device

    def features(self, clips_NTHWC: UInt8) -> Float:
        """Logits [N, F] of uint8 clips; raises ConfigError unless they are that many and finite."""
        batches = [clips_NTHWC[start : start + BATCH] for start in range(0, len(clips_NTHWC), BATCH)]
        return np.concatenate([self._batch(np.ascontiguousarray(batch)) for batch in batches])

    @torch.inference_mode()
    def _batch(self, clips_BTHWC: UInt8) -> Float:
        video_BCTHW = torch.as_tensor(clips_BTHWC).to(self.device).permute(0, 4, 1, 2, 3).float().contiguous()
        try:
            given: Any = self.module(video_BCTHW, rescale=True, resize=True, return_features=True)
        except Exception as error:  # whatever the code in the file does
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise ConfigError(
                f"the network of FVD fails on clips {list(video_BCTHW.shape)}: {reason[0][:200]}.", hint=PROMISE
            ) from error
        if not isinstance(given, torch.Tensor) or given.shape != (len(clips_BTHWC), FEATURES):
            shape = list(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
            raise ConfigError(
                f"the network of FVD gives {shape} for {len(clips_BTHWC)} clips, not their {FEATURES} logits.",
                hint=PROMISE,
            )
        features_BF = given.float().cpu().numpy()
        if not np.isfinite(features_BF).all():
            raise ConfigError("the network of FVD gives values that are not finite.", hint="Is its file damaged?")
        return features_BF


def load_detector(path: Path, sha256: str, shape_THWC: tuple[int, int, int, int]) -> Detector:
    """Load a TorchScript file, on a GPU where there is one, and try it on two clips.

    What is hashed is what is run: the file is read once, and nothing of it is looked at before its hash is right.

    Args:
        path: of the file.
        sha256: 64 hex digits; who gives it promises that the code in the file may run here.
        shape_THWC: of the clips that it will be given.

    Raises:
        ConfigError: no such file, another hash, no TorchScript, or not a network of the field's signature.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path} to compute FVD with.", hint="Name it with --fvd-weights.")
    content = read_bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(
            f"{path} was not loaded: its sha256 is {found}, not {sha256}.",
            hint="A TorchScript file runs code. Give this hash only if you know where the file is from.",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # The field's weights exist in this format alone, so its deprecation is nobody's news.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            module: Any = load(io.BytesIO(content), map_location=device).eval()
    except Exception as error:  # the archive may be anything
        raise ConfigError(f"{path} is not a TorchScript file.", hint=PROMISE) from error
    detector = Detector(module, sha256, device)
    trial_NTHWC = np.random.default_rng(0).integers(0, 256, (2, *shape_THWC)).astype(np.uint8)
    detector.features(trial_NTHWC)
    return detector


def figure_names(count: int, frames: int) -> tuple[str, str]:
    """What FVD and KVD of `count` generated clips of `frames` frames are called, as "fvd2048_16f"."""
    return f"fvd{count}_{frames}f", f"kvd{count}_{frames}f"


def fvd(real_NF: Float, fake_MF: Float) -> float:
    """Frechet distance between the logits, covariances divided by the count; 0 or above, lower is better.

    Biased upward at small counts, so that it is compared at equal ones only; blind as the module says.
    """
    return frechet(real_NF.astype(np.float64), fake_MF.astype(np.float64))


def kvd(real_NF: Float, fake_MF: Float) -> float:
    """Unbiased squared MMD between the logits with the kernel (x.y / F + 1)^3; about 0 when equal, lower is better.

    It does not depend on the counts on average, but is led by the largest logits; blind as the module says.
    """
    return polynomial_distance(real_NF.astype(np.float64), fake_MF.astype(np.float64))


def one_of_each_video(keys: Sequence[str], seed: int, most: int) -> Indices:
    """Places of one clip of each video, drawn at random, of at most so many videos, drawn at random; sorted.

    Args:
        keys: of the clips, "<video>-<clip>".
        seed: equal seeds draw the same clips.
        most: videos.
    """
    of_video: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        of_video.setdefault(key.rpartition("-")[0], []).append(place)
    rng = np.random.default_rng([seed, 6])
    chosen = [int(rng.choice(places)) for _, places in sorted(of_video.items())]
    return np.sort(rng.permutation(np.asarray(chosen, np.int64))[:most])


def random_runs(clips_NTHWC: UInt8, frames: int, rng: np.random.Generator) -> UInt8:
    """So many consecutive frames of each clip, beginning anywhere; all of a clip that has no more."""
    length = clips_NTHWC.shape[1]
    starts = rng.integers(max(length - frames, 0) + 1, size=len(clips_NTHWC))
    return np.stack([clip[start : start + frames] for clip, start in zip(clips_NTHWC, starts, strict=True)])
