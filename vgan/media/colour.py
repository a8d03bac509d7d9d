"""What the numbers of a picture mean as colours, and high dynamic range brought down to standard range.

Matrix and range are always told to the scaler, never left to its guess. Where the file does not name a matrix,
the rule of most players holds: BT.709 for pictures higher than 576 lines or wider than 1024 pixels, else BT.601.
An unnamed range is limited for YUV and full for grey, RGB and the "J" formats. Wide primaries in standard range
keep their numbers.

High dynamic range (transfer PQ or HLG) becomes what a BT.1886 display would show of an SDR grade, as follows:
1. Display light in units of reference white, 203 cd/m2 (ITU-R BT.2408): PQ by the EOTF of SMPTE ST 2084; HLG by
   the inverse OETF of ARIB STD-B67 and the OOTF of ITU-R BT.2100 for a display of 1,000 cd/m2 (gamma 1.2).
2. BT.2020 to BT.709 primaries (ITU-R BT.2087), what lies outside is cut at 0.
3. By the largest of R, G, B, so that hues stay: light up to KNEE is kept, above it the extended Reinhard curve
   t (1 + t/T^2) / (1 + t) (Reinhard et al. 2002, equation 4) brings 1,000 cd/m2 to white.
4. The inverse EOTF of BT.1886: power 1/2.4.

Shape suffixes: C = 3 colours (RGB), H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from .stream import VideoError

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]
Float32 = npt.NDArray[np.float32]

REFERENCE_WHITE = 203.0  # cd/m2
PEAK = 1000.0  # cd/m2 that become white
KNEE = 0.6  # of reference white, in linear light

# FFmpeg's numbers of matrices (AVColorSpace), with the scaler's words for them.
_MATRICES = {
    **{1: ("bt709", "bt709"), 4: ("fcc", "fcc"), 5: ("bt601", "smpte170m"), 6: ("bt601", "smpte170m")},
    **{7: ("smpte240m", "smpte240m"), 9: ("bt2020", "bt2020nc"), 10: ("bt2020", "bt2020nc")},
}
_UNNAMED = {0, 2, 3}  # RGB's own number is a mistake in a YUV picture
_BT2020 = 9  # AVColorPrimaries
_UNNAMED_PRIMARIES = {0, 2}
_TRANSFERS = {16: "pq", 18: "hlg"}  # AVColorTransferCharacteristic
_LIMITED, _FULL = 1, 2  # AVColorRange

_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_LUMINANCE_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


@dataclass(frozen=True)
class Colour:
    """How the numbers of a frame are read."""

    name: str  # for a person, such as "bt709 limited"
    scaler: str  # options for the scaler
    transfer: str  # "pq" or "hlg", or "" for standard range
    wide: bool  # BT.2020 primaries
    grey_limited: bool  # the scaler takes any grey for full range


def colour_of(frame: VideoFrame) -> Colour:
    """The rule for this frame.

    Raises:
        VideoError: unsupported_codec for a matrix that the scaler cannot undo, such as ICtCp.
    """
    transfer = _TRANSFERS.get(frame.color_trc, "")
    wide = frame.color_primaries == _BT2020 or (bool(transfer) and frame.color_primaries in _UNNAMED_PRIMARIES)
    name = frame.format.name
    grey = name.startswith(("gray", "ya", "mono"))
    if frame.format.is_rgb or name == "pal8" or grey:
        limited = grey and frame.color_range == _LIMITED
        plain = ("grey limited" if limited else "grey full") if grey else "rgb"
        return Colour(_named(plain, transfer, wide=wide), "", transfer, wide, limited)
    full = frame.color_range == _FULL or name.startswith("yuvj")
    matrix, word, assumed = _matrix(frame)
    plain = f"{matrix} {'full' if full else 'limited'}{', assumed' if assumed else ''}"
    scaler = f":in_color_matrix={word}:in_range={'full' if full else 'limited'}"
    return Colour(_named(plain, transfer, wide=wide), scaler, transfer, wide, grey_limited=False)


def _matrix(frame: VideoFrame) -> tuple[str, str, bool]:
    number = frame.colorspace
    if number in _MATRICES:
        return *_MATRICES[number], False
    if number not in _UNNAMED:
        raise VideoError("unsupported_codec", f"its colours are coded by a matrix that is not undone (number {number})")
    large = frame.height > 576 or frame.width > 1024
    return ("bt709", "bt709", True) if large else ("bt601", "smpte170m", True)


def _named(plain: str, transfer: str, *, wide: bool) -> str:
    return f"{transfer} {'bt2020' if wide else 'bt709'}, tone-mapped" if transfer else plain


def stretch_grey(pixels_CHW: Uint8) -> None:
    """Limited range (16 to 235) to full range, in place."""
    np.take(_GREY_LEVELS, pixels_CHW, out=pixels_CHW)


_GREY_LEVELS = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def tone_map(codes_CHW: Uint16, colour: Colour) -> Uint8:
    """Standard-range RGB of a high-range picture.

    Args:
        codes_CHW: non-linear RGB over the whole of 16 bits.
        colour: of the frame; its transfer is "pq" or "hlg".
    """
    light = _light_of_pq()[codes_CHW] if colour.transfer == "pq" else _hlg_light(codes_CHW)
    if colour.wide:
        light = np.tensordot(_TO_BT709, light, axes=1)
    np.maximum(light, 0, out=light)
    largest = light.max(axis=0)
    light *= _rolled_off(largest) / np.maximum(largest, np.float32(1e-6))
    return np.rint(np.minimum(light, 1) ** np.float32(1 / 2.4) * 255).astype(np.uint8)


def _rolled_off(light: Float32) -> Float32:
    """Light in units of reference white to 0..1: the same up to the knee, rolled off smoothly above it."""
    most = (PEAK / REFERENCE_WHITE - KNEE) / (1 - KNEE)
    above = np.clip((light - KNEE) / (1 - KNEE), 0, most)
    rolled = KNEE + (1 - KNEE) * above * (1 + above / most**2) / (1 + above)
    return np.where(light > KNEE, rolled, light).astype(np.float32)


@cache
def _light_of_pq() -> Float32:
    """Light in units of reference white of each 16-bit PQ code."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = np.linspace(0, 1, 65536) ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return (nits / REFERENCE_WHITE).astype(np.float32)


@cache
def _scene_of_hlg() -> Float32:
    """Scene light (0 to 1) of each 16-bit HLG code."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    code = np.linspace(0, 1, 65536)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


def _hlg_light(codes_CHW: Uint16) -> Float32:
    scene = _scene_of_hlg()[codes_CHW]
    luminance = np.tensordot(_LUMINANCE_BT2020, scene, axes=1)
    return scene * np.float32(PEAK / REFERENCE_WHITE) * np.maximum(luminance, 1e-6) ** np.float32(0.2)
