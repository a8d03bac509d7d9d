"""Which video codecs a file may have, and which of them the ffmpeg on this machine can write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import ConfigError, MissingToolError
from .ffmpeg import PATH_VARIABLE, Ffmpeg, find_ffmpeg, run

ASK_SECONDS = 30.0
NAMES = {"h264": "H.264", "h265": "H.265", "av1": "AV1", "vp9": "VP9"}
# Codecs of each container, the usual one first; a gif is its own codec.
CONTAINERS = {"mp4": ("h264", "h265", "av1", "vp9"), "webm": ("vp9", "av1"), "gif": ("gif",)}


@dataclass(frozen=True)
class Encoder:
    """One of ffmpeg's encoders at the quality that vgan asks of it: visually lossless."""

    name: str  # ffmpeg's
    options: dict[str, Any]


# For each codec, the first that is there is taken.
ENCODERS: dict[str, tuple[Encoder, ...]] = {
    "h264": (Encoder("libx264", {"preset": "medium", "crf": 16}),),
    "h265": (
        # Several threads, and its own remarks in the stream, would make other bytes on another machine.
        Encoder(
            "libx265",
            {
                **{"preset": "medium", "crf": 18, "tag:v": "hvc1"},
                "x265-params": "log-level=error:pools=none:frame-threads=1:info=0",
            },
        ),
    ),
    "av1": (
        Encoder("libaom-av1", {"crf": 18, "b:v": 0, "cpu-used": 6}),
        Encoder("libsvtav1", {"crf": 18, "preset": 6}),
    ),
    "vp9": (Encoder("libvpx-vp9", {"crf": 16, "b:v": 0, "deadline": "good", "cpu-used": 2}),),
    "gif": (Encoder("gif", {"loop": 0}),),
}


def encoder_for(container: str, codec: str = "auto") -> Encoder:
    """The encoder that writes `codec` into a file of kind `container`.

    Args:
        container: "mp4", "webm" or "gif".
        codec: "h264", "h265", "av1" or "vp9"; "auto" takes the container's usual one.

    Raises:
        ConfigError: a file of this kind does not hold this codec.
        MissingToolError: this ffmpeg cannot write it.
    """
    held = CONTAINERS[container]
    wanted = held[0] if codec == "auto" else codec
    if wanted not in ENCODERS:
        raise ConfigError(f"unknown codec {wanted!r}.", hint=f"Known: {', '.join(NAMES)}.")
    if wanted not in held:
        kinds = [kind for kind, codecs in CONTAINERS.items() if wanted in codecs]
        raise ConfigError(f"{container} files do not hold {NAMES[wanted]}.", hint=f"Write {' or '.join(kinds)}.")
    ffmpeg = find_ffmpeg()
    present = _present(ffmpeg)
    found = next((encoder for encoder in ENCODERS[wanted] if encoder.name in present), None)
    if found is None:
        able = [NAMES.get(other, other) for other in held if any(e.name in present for e in ENCODERS[other])]
        wants = " nor ".join(encoder.name for encoder in ENCODERS[wanted])
        raise MissingToolError(
            f"ffmpeg {ffmpeg.version} at {ffmpeg.path} cannot write {NAMES.get(wanted, wanted)}: it has no {wants}.",
            hint=f"For {container} it can write {', '.join(able) or 'nothing'}; or name another ffmpeg in "
            f"{PATH_VARIABLE}.",
        )
    return found


@cache
def _present(ffmpeg: Ffmpeg) -> frozenset[str]:
    """Names of all video encoders that this ffmpeg was built with."""
    output, finished = run(["-loglevel", "error", "-encoders"], timeout=ASK_SECONDS)
    if finished.returncode:
        raise MissingToolError(f"ffmpeg at {ffmpeg.path} does not say what it can encode: {finished.first_error}.")
    return frozenset(re.findall(r"^ V\S+ +(\S+)", output.decode(errors="replace"), re.M))
