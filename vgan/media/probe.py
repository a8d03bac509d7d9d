"""What a video is, read from the messages of the ffmpeg that decoded it.

The bundled ffmpeg comes without ffprobe, and a second process would cost a short video as much as its
decoding. Titles and comments of the file stand among the messages and may imitate them, but only before the
streams are mapped: all that decides over a video is read after that, and the rest is the file's claim anyway.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) \((\S+)\) -> settb", re.M)
_STREAM = r"^\[info\]   Stream #0:{index}[^\n]*?: Video: ([^\n]*)"
_VIDEO = re.compile(r"^\[info\]   Stream #0:\d+[^\n]*?: Video: (?![^\n]*\(attached pic\))", re.M)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d+)", re.M)
_SCALED = re.compile(
    r"^\[Parsed_scale_\d+ @ 0x[0-9a-f]+\] \[verbose\] w:(\d+) h:(\d+) fmt:\S+.*? sar:(\d+)/(\d+) -> ", re.M
)
_BY = r"^(?:\[[^\]\n]+ @ 0x[0-9a-f]+\] )*"  # which part of ffmpeg speaks
_COUNTS = _BY + r"\[verbose\]   Input stream #0:{index} \(video\): (\d+) packets read .*?; (\d+) frames decoded;"
_ERRORS = re.compile(r" (\d+) decode errors;")
_CONCEALED = re.compile(_BY + r"\[warning\] (?:the file: )?corrupt decoded frame", re.M)
_UNDECODED = re.compile(_BY + r"\[error\] Error while decoding stream", re.M)  # of versions that do not count them
_CUT_OFF = re.compile(
    _BY + r"\[(?:error|warning)\] (?:stream \d+, offset 0x[0-9a-f]+: partial file|File ended prem)", re.M
)
_LONGEST = 10_000_000.0


@dataclass(frozen=True)
class StreamInfo:
    """Facts about the decoded video stream."""

    codec: str  # ffmpeg's name of it, such as "h264"
    width: int  # as shown: after rotation and in square pixels
    height: int
    fps: float  # average, as the container says; 0 when it does not
    seconds: float  # as the container says; 0 when it does not
    packets: int  # read of the stream
    frames_decoded: int
    decode_errors: int  # packets that gave no frame, and frames that were patched up
    cut_off: bool  # the file ends before its content does


def read_stream_info(messages: str) -> StreamInfo | None:
    """Read ffmpeg's messages at `-loglevel level+verbose`; None when no video stream was decoded at all.

    The file's own name must have been taken out of them: it can hold line breaks.
    """
    claims, _, work = messages.rpartition("\n[info] Stream mapping:\n")
    mapped = _MAPPED.search(work)
    shown = _SCALED.search(work)
    if not mapped or not shown:
        return None
    index, codec = mapped[1], mapped[2]
    stream = re.search(_STREAM.format(index=index), claims, re.M)
    counts = re.search(_COUNTS.format(index=index), work, re.M)
    packets, frames = (int(counts[1]), int(counts[2])) if counts else (0, 0)
    return StreamInfo(
        codec=codec,
        width=round(int(shown[1]) * _ratio(shown[3], shown[4])),
        height=int(shown[2]),
        fps=_rate(stream[1] if stream else ""),
        seconds=_duration(claims),
        packets=packets,
        frames_decoded=frames,
        decode_errors=_errors(work, counts),
        cut_off=bool(_CUT_OFF.search(work)),
    )


def why_nothing(messages: str) -> str:
    """Reason code for a file of which ffmpeg decoded no frame."""
    if "[info] Input #0, " not in messages:
        return "no_header" if "] [error] moov atom not found" in messages else "unreadable"
    if not _VIDEO.search(messages):
        return "no_video_stream"
    if "exceeds specified max pixel count" in messages:
        return "too_large"
    if re.search(r"\[(?:error|fatal|warning)\] .*(?:no decoder found|Decoder .* not found)", messages, re.I):
        return "unsupported_codec"
    return "damaged"


def _ratio(numerator: str, denominator: str) -> float:
    """A sample aspect ratio; 0/1 means unknown, taken as square."""
    top, bottom = int(numerator), int(denominator)
    return top / bottom if top and bottom else 1.0


def _rate(stream: str) -> float:
    match = re.search(r", (\d+(?:\.\d+)?)(k?) fps\b", stream)
    return float(match[1]) * (1000 if match[2] else 1) if match else 0.0


def _duration(messages: str) -> float:
    match = _DURATION.search(messages)
    if not match:
        return 0.0
    return min(int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]), _LONGEST)


def _errors(messages: str, counts: re.Match[str] | None) -> int:
    counted = _ERRORS.match(messages, counts.end()) if counts else None
    undecoded = int(counted[1]) if counted else len(_UNDECODED.findall(messages))
    return undecoded + len(_CONCEALED.findall(messages))
