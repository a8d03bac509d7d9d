"""What `vgan inspect` shows: one page, whole in itself, of what a dataset version consists of.

Shape suffixes: N clips, T frames, H height, W width, C = 3 colours (RGB, uint8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ...media.encode import contact_sheet, mp4_bytes, png_bytes
from ...page import bars, document, escaped, facts, film, picture, table
from ...progress import counted
from ...records import Dataset, recipe
from ...workspace import Workspace
from .chosen import ShownClip, chosen_clips
from .examples import Examples, examples
from .summary import DatasetSummary, summarise

Uint8 = npt.NDArray[np.uint8]

CLIPS = 24  # that play
SHEET_ROWS, SHEET_FRAMES, SHEET_TILE = 12, 8, 64
FILM_BYTES = 1_000_000  # of all films together, before base64
SHEET_BYTES = 900_000
LABELS_SHOWN = 200
VALUES_SHOWN = 12  # of codecs, licences and the like
NAME_LENGTH = 48
LOOPED_SECONDS = 1.0  # a shorter clip is repeated in its film: players stumble over very short loops

HISTOGRAMS = {
    "duration": "Duration of a video, seconds",
    "fps": "Frames per second",
    "size": "Shorter side, pixels",
    "motion": "Motion of a video's clips, levels",
    "clips": "Clips of a video",
}
LEFT_OUT = {
    "cut": "a scene cut or a hole in time inside",
    "static": "hardly any motion",
    "black": "black",
    "short": "too few frames left",
    "surplus": "more than --max-clips-per-video",
}


def inspect_page(
    workspace: Workspace, dataset: Dataset, summary: DatasetSummary | None = None, *, clips: int = CLIPS, seed: int = 0
) -> str:
    """The page; equal data and arguments give an equal page.

    Args:
        workspace: where the dataset lies.
        dataset: the version to show.
        summary: of this version, where the caller has it already.
        clips: that play on the page.
        seed: chooses them.

    Raises:
        CorruptDataError: a record, or a shard that a clip was chosen from, is missing or damaged.
    """
    folder = workspace.dataset(dataset.name)
    summary, found = summary or summarise(folder, dataset), examples(folder, dataset)
    sections = [
        f"<p>{escaped(headline(summary))}</p>",
        _clips_html(chosen_clips(workspace, dataset, clips, seed), clips, dataset.config.fps),
        _histograms(summary),
        _sources(summary),
        _labels(summary),
        _left_out(summary),
        _rejections(summary, found),
        _groups(summary, found),
        f"<h2>Version</h2>{_version(summary, dataset)}",
    ]
    return document(f"{dataset.name} · version {dataset.number}", "Contents of a dataset", "".join(sections))


def headline(summary: DatasetSummary) -> str:
    """What there is, in two sentences."""
    clips, rejected = summary.clips, sum(summary.rejections.values())
    return (
        f"{counted(summary.videos, 'video')} of {duration(summary.seconds)} gave "
        f"{counted(clips['train'], 'training clip')} and {counted(clips['heldout'], 'held-out one')} in "
        f"{counted(sum(summary.shards.values()), 'shard')} of {size(sum(summary.shard_bytes.values()))}. "
        f"{counted(rejected, 'video was', 'videos were')} rejected, "
        f"{counted(sum(summary.left_out.values()), 'window')} of the others left out."
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def size(count: int) -> str:
    """Bytes as a person says them."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _clips_html(clips: Iterable[ShownClip], num: int, fps: float) -> str:
    """Films and the contact sheet; clips are read, made small and forgotten one at a time."""
    films: list[str] = []
    rows: list[tuple[ShownClip, Uint8]] = []
    for clip in clips:
        films.append(film(_film(clip.frames_THWC, fps, FILM_BYTES // num), caption(clip)))
        rows.append((clip, _strip(clip.frames_THWC)))
    if not rows:
        return ""
    shown = [rows[place * len(rows) // min(len(rows), SHEET_ROWS)] for place in range(min(len(rows), SHEET_ROWS))]
    listed = "; ".join(f"{row} {caption(clip)}" for row, (clip, _) in enumerate(shown, 1))
    sheet = picture(
        _sheet([strip for _, strip in shown]),
        "frames of each clip from left to right",
        f"Each row is a clip, time runs to the right. From the top: {listed}",
    )
    return f'<h2>Clips</h2><div class="films">{"".join(films)}</div><h2>Frame by frame</h2>{sheet}'


def caption(clip: ShownClip) -> str:
    """Where a clip is from."""
    side = "training" if clip.split == "train" else "held out"
    label = f", {shortened(clip.label)}" if clip.label is not None else ""
    return f"{side}{label}: {shortened(clip.source)} at {clip.start_seconds:.1f} s"


def shortened(name: str) -> str:
    """A name that fits under a clip: of a long one, its end."""
    return name if len(name) <= NAME_LENGTH else f"…{name[-NAME_LENGTH:]}"


def _film(frames_THWC: Uint8, fps: float, limit: int) -> bytes:
    """An mp4 of at most `limit` bytes, or as near to it as three halvings of the picture come."""
    repeats = max(1, round(LOOPED_SECONDS * fps / len(frames_THWC)))
    frames_THWC = np.concatenate([frames_THWC] * repeats)
    content = b""
    for factor in (1, 2, 4, 8):
        if min(frames_THWC.shape[1:3]) < 16 * factor:
            break
        content = mp4_bytes(shrink(frames_THWC, factor), fps, crf=23)
        if len(content) <= limit:
            break
    return content


def _strip(frames_THWC: Uint8) -> Uint8:
    """The frames of a clip that the contact sheet shows, no larger than its tiles ask for."""
    last = len(frames_THWC) - 1
    places = sorted({place * last // (SHEET_FRAMES - 1) for place in range(SHEET_FRAMES)})
    factor = -(-min(frames_THWC.shape[1:3]) // (2 * SHEET_TILE))
    return shrink(frames_THWC[places], factor)


def _sheet(strips: Sequence[Uint8]) -> bytes:
    """The contact sheet as a png of at most SHEET_BYTES."""
    content = b""
    clips_NTHWC = np.stack(strips)
    for factor in (1, 2, 4, 8):
        smaller = np.stack([shrink(strip, factor) for strip in clips_NTHWC])
        content = png_bytes(contact_sheet(smaller, frames=SHEET_FRAMES, tile=SHEET_TILE))
        if len(content) <= SHEET_BYTES:
            break
    return content


def shrink(frames_THWC: Uint8, factor: int) -> Uint8:
    """Frames with sides divided by `factor`, each new pixel the mean of those that it replaces; sides stay even."""
    if factor == 1:
        return frames_THWC
    frames, height, width, colours = frames_THWC.shape
    tall, wide = max(2, height // factor // 2 * 2), max(2, width // factor // 2 * 2)
    cut = frames_THWC[:, : tall * factor, : wide * factor]
    blocks = cut.reshape(frames, tall, factor, wide, factor, colours)
    return blocks.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint8)


def _histograms(summary: DatasetSummary) -> str:
    plots = [
        bars(title, [f"{start:g}" for start in summary.histograms[name].starts], summary.histograms[name].counts)
        for name, title in HISTOGRAMS.items()
    ]
    return f'<h2>Videos</h2><div class="plots">{"".join(plots)}</div>'


def _labels(summary: DatasetSummary) -> str:
    if not summary.labels:
        return ""
    ordered = sorted(summary.labels.items(), key=lambda pair: (-pair[1].train - pair[1].heldout, pair[0]))
    rows = [(label, f"{n.videos:,}", f"{n.train:,}", f"{n.heldout:,}") for label, n in ordered[:LABELS_SHOWN]]
    shown = table(("Label", "Videos", "Training clips", "Held-out clips"), rows)
    return f"<h2>Labels</h2>{shown}{_rest(len(ordered) - LABELS_SHOWN, 'labels')}"


def _left_out(summary: DatasetSummary) -> str:
    if not summary.left_out:
        return ""
    clips = sum(summary.clips.values())
    share = clips + sum(summary.left_out.values())
    rows = [("kept", f"{clips:,}", f"{clips / share:.1%}")]
    rows += [(LEFT_OUT.get(why, why), f"{count:,}", f"{count / share:.1%}") for why, count in summary.left_out.items()]
    return f"<h2>Windows left out</h2>{table(('Windows', 'Number', 'Share'), rows)}"


def _rejections(summary: DatasetSummary, found: Examples) -> str:
    if not summary.rejections:
        return ""
    rows: list[tuple[str, str, str]] = []
    for reason, count in summary.rejections.items():
        listed = found.rejections.get(reason, [])
        rows += [(reason if place == 0 else "", path, detail) for place, (path, detail) in enumerate(listed)]
        if count > len(listed):
            rows.append(("", f"and {count - len(listed):,} more", ""))
    counted = ", ".join(f"{count:,} {reason}" for reason, count in summary.rejections.items())
    shown = table(("Reason", "Video", "Detail"), rows, words=True)
    return f'<h2>Rejected videos</h2><p class="soft">{escaped(counted)}</p>{shown}'


def _groups(summary: DatasetSummary, found: Examples) -> str:
    extra = summary.files - summary.videos
    if not extra and not summary.copies and not summary.groups_of_several:
        return ""
    said = (
        f"{counted(extra, 'further name')} of files with equal bytes and {counted(summary.copies, 'file')} with equal "
        f"pixels are stored once. {counted(summary.videos_in_groups, 'video stands', 'videos stand')} in "
        f"{counted(summary.groups_of_several, 'group')} of several, because "
        "they look alike or are said to belong together: each group lies on one side of the split."
    )
    rows = [(split_name(split), f"{count:,}", ", ".join(paths)) for split, count, paths in found.groups]
    shown = table(("Side", "Videos", "Among them"), rows, words=True) if rows else ""
    rest = _rest(summary.groups_of_several - len(rows), "groups")
    return f'<h2>Duplicates and groups</h2><p class="soft">{escaped(said)}</p>{shown}{rest}'


def split_name(split: str) -> str:
    """A side of the split, for people."""
    return "training" if split == "train" else "held out"


def _rest(count: int, what: str) -> str:
    return f'<p class="soft">and {count:,} more {what}</p>' if count > 0 else ""


def _sources(summary: DatasetSummary) -> str:
    counted = {
        "File endings": summary.formats,
        "Codecs": summary.codecs,
        "Colours": summary.colours,
        "Treatment": summary.treatments,
        "Licences": summary.licences,
        "Consent": summary.consents,
        "Marks of making": summary.marks,
    }
    return f"<h2>What the videos are</h2>{facts({name: listed(counts) for name, counts in counted.items()})}"


def listed(counts: dict[str, int]) -> str:
    """Counts in a line, the largest first."""
    some = [f"{count:,} {name or 'not said'}" for name, count in list(counts.items())[:VALUES_SHOWN]]
    more = len(counts) - len(some)
    return " · ".join([*some, f"and {more:,} others"] if more > 0 else some) or "none"


def _version(summary: DatasetSummary, dataset: Dataset) -> str:
    pairs: dict[str, object] = {
        "Name": f"{summary.name}, version {summary.number}",
        "Digest": summary.dataset_digest,
        "Stored as": summary.stored_format,
        "Videos": f"{duration(summary.seconds)}, {size(summary.source_bytes)}, "
        f"{counted(summary.frames_decoded, 'frame')} decoded, "
        f"{counted(summary.videos_with_decode_errors, 'video')} with decoding errors",
    }
    settings = {name: "none" if value is None else value for name, value in sorted(recipe(dataset.config).items())}
    return facts(pairs | settings)
