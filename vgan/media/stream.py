"""Opening a video so that it can do no harm, and the facts about its one stream that is decoded.

FFmpeg (inside PyAV) runs in this process here, so the process must be one that may be lost. What a hostile file
can ask of it is bounded before it is opened: only containers (a text that names other files or hosts is none),
only local files, only decoders of the list below, pictures up to 8K, 32 streams, no threads.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.logging
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .ffmpeg import file_url

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"
# Decoders of what people have, each maintained and fuzzed. Anything else is a way in (as MagicYUV's was).
DECODERS = (
    "h264,hevc,vp8,vp9,libdav1d,mpeg4,mpeg2video,mpeg1video,mjpeg,h263,flv,msmpeg4,msmpeg4v2,wmv1,wmv2,wmv3,vc1,"
    "theora,vp6,vp6f,prores,dnxhd,ffv1,huffyuv,ffvhuff,rawvideo,dvvideo,png,qtrle"
)
MOST_PIXELS = 33_177_600  # 8K
LONGEST_SECONDS = 10_000_000.0
MOST_TAGS = 64
TAG_CHARACTERS = 4096

_CODEC_GUARDS = {"max_pixels": str(MOST_PIXELS), "codec_whitelist": DECODERS}
_GUARDS = {
    **_CODEC_GUARDS,
    "format_whitelist": FORMATS,
    "protocol_whitelist": "file",
    "max_streams": "32",
    "probesize": "20000000",
    "analyzeduration": "10000000",
}

# Nothing is printed; FFmpeg's errors are still counted and the last one kept, which costs a sound file nothing.
av.logging.set_level(av.logging.PANIC)


def bundled_ffmpeg() -> str:
    """Version of the FFmpeg inside PyAV, as it names itself."""
    return av.ffmpeg_version_info


class VideoError(Exception):
    """A video that cannot be used: a reason code, and one line for a person of at most 300 characters."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = printable(detail)[:300]
        super().__init__(f"{reason}: {self.detail}")


@dataclass(frozen=True)
class StreamInfo:
    """Facts about the decoded video stream."""

    codec: str  # FFmpeg's name of it, such as "h264"
    width: int  # as shown: upright and in square pixels
    height: int
    fps: float  # average, as the container says; 0 when it does not
    seconds: float  # as the container says; 0 when it does not
    colour: str  # matrix and range, such as "bt709 limited", or what was tone-mapped
    treatment: tuple[str, ...]  # what was done beside scaling, sorted: "deinterlaced", "alpha dropped", ...
    packets: int  # read of the stream
    frames_decoded: int
    decode_errors: int  # packets that gave an error, and frames that were patched up
    tags: dict[str, str]  # of the container and the stream, as they are, but bounded in number and length


class Source:
    """An open file and its first real video stream. Leaving the `with` block closes it.

    Attached pictures are no video. No other stream is read.

    Raises:
        VideoError: no_header, unreadable, no_video_stream or unsupported_codec.
    """

    def __init__(self, path: Path | str) -> None:
        before = errors_seen()
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for ever
                raise VideoError("unreadable", "it is not a regular file")
            # PyAV's own choice is to raise for a title that is not UTF-8.
            self.container: InputContainer = av.open(file_url(path), options=_GUARDS, metadata_errors="replace")
        except (FFmpegError, OSError) as error:
            raise _why_not_opened(error, before) from error
        self.opening_message = last_message(before)  # FFmpeg's last error while it looked for streams
        # PyAV asks for invented presentation times, which are wrong in AVI; FFmpeg's own programs do without.
        self.container.flags &= ~Flags.gen_pts.value
        try:
            self.stream = _first_video(self.container)
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Pictures that this packet completes, in presentation order; None asks for those that are left.

        Raises:
            FFmpegError: the packet is damaged.
        """
        stream: Any = self.stream  # its stubs leave the packet's type open
        return stream.decode(packet)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width by height of one pixel as shown; an absurd one counts as square."""
        for found in (self.stream.sample_aspect_ratio, self.stream.codec_context.sample_aspect_ratio):
            if found and Fraction(1, 16) <= found <= 16:
                return Fraction(found)
        return Fraction(1)

    @property
    def seconds(self) -> float:
        """Duration of the stream, else of the container, as they say; 0 when they do not."""
        stream = self.stream
        if stream.duration and stream.time_base and stream.duration > 0:
            return min(float(stream.duration * stream.time_base), LONGEST_SECONDS)
        return min(max(self.container.duration or 0, 0) / 1e6, LONGEST_SECONDS)

    @property
    def rate(self) -> float:
        """Average frames per second as the container says; 0 when it does not."""
        return float(self.stream.average_rate or 0)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the coding, such as "h264" or "av1"."""
        return self.stream.codec_context.codec.canonical_name

    @property
    def has_alpha(self) -> bool:
        """Whether transparency is stored beside the picture, where its decoder leaves it."""
        return any(key.lower() == "alpha_mode" and value == "1" for key, value in self.stream.metadata.items())

    def tags(self) -> dict[str, str]:
        """Tags of the container and the stream; the container's stand where both have one."""
        both = {**self.stream.metadata, **self.container.metadata}
        return {key[:TAG_CHARACTERS]: both[key][:TAG_CHARACTERS] for key in sorted(both)[:MOST_TAGS]}


def errors_seen() -> int:
    """How many errors FFmpeg has reported in this process."""
    return av.logging.get_last_error()[0]


def last_message(before: int) -> str:
    """FFmpeg's last error message since there were `before` of them; "" when there is none."""
    count, error = av.logging.get_last_error()
    return printable(error[2]) if error and count > before else ""


def printable(text: str) -> str:
    """`text` on one line, without control characters or halves of characters."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _why_not_opened(error: Exception, before: int) -> VideoError:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FFmpegError):
        return VideoError("unreadable", error.strerror)
    message = last_message(before)
    if "moov atom not found" in message or "error reading header" in message:
        return VideoError("no_header", message)
    return VideoError("unreadable", message or "it is none of the containers that are read")


def _first_video(container: InputContainer) -> VideoStream:
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise VideoError("no_video_stream", "it holds no video (a cover picture is none)")
    chosen = videos[0]
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    context = cast("VideoCodecContext | None", chosen.codec_context)
    if context is None or context.name not in DECODERS.split(","):
        raise VideoError("unsupported_codec", f"no decoder is used for {context.name if context else 'its codec'}")
    context.thread_type = "NONE"
    context.thread_count = 1
    context.options = dict(_CODEC_GUARDS)
    return chosen


def check_size(width: int, height: int) -> None:
    """Raises VideoError too_large for a picture above 8K."""
    if width * height > MOST_PIXELS:
        raise VideoError("too_large", f"a picture of {width} x {height} is larger than 8K")
