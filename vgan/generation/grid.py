"""All clips side by side in one film.

Shape suffixes: T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..media.encode import GUTTER

Uint8 = npt.NDArray[np.uint8]
GAP = 2  # pixels between clips
WIDEST = 4096  # pixels: what most players show
MOST_BYTES = 64 << 20  # of the whole film as pixels: it is held in memory


class Grid:
    """A film with a place for each clip, from left to right and from top to bottom.

    Args:
        num: clips.
        frames, height, width: of one clip.
        one_row: put all in one row if that is not too wide, as suits a walk.

    Raises:
        ConfigError: so many clips do not fit.
    """

    def __init__(self, num: int, frames: int, height: int, width: int, *, one_row: bool = False) -> None:
        high, wide = height + GAP, width + GAP
        fit = WIDEST // wide
        columns = num if one_row and num <= fit else min(fit, round((num * high / wide) ** 0.5) or 1)
        rows = -(-num // columns) if columns else 0
        if not columns or rows * high > WIDEST or frames * rows * high * columns * wide * 3 > MOST_BYTES:
            most = min((WIDEST // high) * fit, MOST_BYTES // (frames * high * wide * 3))
            raise ConfigError(
                f"a grid of {num} clips of {frames} frames of {width} x {height} is too large; {most} would about fit.",
                hint="Ask for fewer or shorter clips, or leave out the grid.",
            )
        self.columns, self.size = columns, (height, width)
        # Even sides, which films need, as long as those of a clip are.
        self.film_THWC = np.full((frames, rows * high, columns * wide, 3), GUTTER, np.uint8)

    def put(self, place: int, clip_THWC: Uint8) -> None:
        """Show a clip at its place, counted from 0."""
        height, width = self.size
        row, column = divmod(place, self.columns)
        top, left = row * (height + GAP), column * (width + GAP)
        self.film_THWC[:, top : top + height, left : left + width] = clip_THWC
