"""Pictures and clips of the averaged generator, for people, always from the same seeds."""

from __future__ import annotations

import numpy as np

from ..media.encode import contact_sheet, write_mp4, write_png
from ..media.provenance import synthetic_metadata
from ..models.generate import Uint8, generate_clip
from ..models.interface import Generator
from ..workspace import RunFolder
from .plan import RunConfig

SHEET_CLIPS = 12
VIDEO_CLIPS = 4


def preview_clips(generator: Generator, num: int) -> Uint8:
    """Clips of seeds 0 to `num` - 1, the classes in turn: uint8 [N, T, H, W, 3]."""
    labels = generator.shape.labels
    return np.stack([generate_clip(generator, seed, seed % labels if labels else None) for seed in range(num)])


def write_sheet(folder: RunFolder, generator: Generator, steps: int) -> None:
    """samples/step-<steps>.png: how the same seeds look at this step."""
    write_png(folder.samples / f"step-{steps:08d}.png", contact_sheet(preview_clips(generator, SHEET_CLIPS)))


def write_final(folder: RunFolder, generator: Generator, config: RunConfig) -> None:
    """samples/contact-sheet.png and a few playable samples/seed-<seed>.mp4, marked as synthetic."""
    clips_NTHWC = preview_clips(generator, SHEET_CLIPS)
    write_png(folder.contact_sheet, contact_sheet(clips_NTHWC))
    for seed, clip_THWC in enumerate(clips_NTHWC[:VIDEO_CLIPS]):
        metadata = synthetic_metadata(config.dataset, config.run, seed)
        write_mp4(folder.samples / f"seed-{seed}.mp4", clip_THWC, config.fps, metadata)
