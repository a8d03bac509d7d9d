"""Decoding a whole video in one call, as the tests of media do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vgan.media.decode import Decoder, Frame, Sampling, StreamInfo, VideoError


def frames_of(
    path: Path, fps: float = 8.0, height: int = 32, width: int = 32, **sampling: Any
) -> tuple[list[Frame], StreamInfo]:
    """All chosen frames and what the decoder says of the video."""
    decoder = Decoder(path, Sampling(fps, height, width, **sampling))
    frames = list(decoder)
    for frame in frames:
        assert frame.pixels_CHW.shape == (3, height, width)
        assert frame.pixels_CHW.dtype == np.uint8
        assert frame.pixels_CHW.flags.c_contiguous and frame.pixels_CHW.flags.writeable
    return frames, decoder.info


def first_picture(path: Path, height: int = 32, width: int = 32, **sampling: Any) -> npt.NDArray[np.int64]:
    """The first frame as int [H, W, 3], for arithmetic."""
    frames, _ = frames_of(path, 8.0, height, width, **sampling)
    return frames[0].pixels_CHW.transpose(1, 2, 0).astype(np.int64)


def reason_of(path: Path, **sampling: Any) -> str:
    """Why the video is refused; a detail for a person comes with it."""
    with pytest.raises(VideoError) as caught:
        frames_of(path, **sampling)
    assert caught.value.detail
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) <= 300
    return caught.value.reason


def equal_frames(one: Sequence[Frame], other: Sequence[Frame]) -> bool:
    """Whether both hold the same cells with the same pixels."""
    return [frame.cell for frame in one] == [frame.cell for frame in other] and all(
        np.array_equal(a.pixels_CHW, b.pixels_CHW) for a, b in zip(one, other, strict=True)
    )
