"""A generator's clips as files that say they are synthetic, with a contact sheet, a grid film and a listing.

However many clips are asked for, only a few are in memory at a time. Shapes: T frames, H height, W width,
C = 3 colours.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..config import SampleConfig
from ..media.codecs import Encoder, encoder_for
from ..media.encode import contact_sheet, png_bytes, spread
from ..media.films import check_film, film_bytes
from ..media.marking import Marking
from ..progress import Progress, silent
from ..sampling import Sampler, Wish
from ..storage import write_atomic
from .folder import LISTING_FILE, sample_folder
from .grid import Grid

Uint8 = npt.NDArray[np.uint8]
T = TypeVar("T")
SHEET_FILE = "contact-sheet.png"
SHEET_CLIPS = 16
SHEET_FRAMES = 8
MOST_WRITERS = 4
WRITER_BYTES = 1 << 30  # of all clips that are being marked and encoded
COPIES = 16  # of a clip in memory while it is


@dataclass(frozen=True)
class Written:
    """What one call wrote."""

    clips: tuple[Path, ...]
    contact_sheet: Path
    grid: Path | None
    listing: Path
    frames: int  # of all clips
    seconds: float  # wall clock to generate, mark, encode and write them
    fps: float  # of the files

    @property
    def frames_per_second(self) -> float:
        """Speed."""
        return self.frames / self.seconds

    @property
    def real_time_factor(self) -> float:
        """Seconds of film made in a second: above 1 the clips are made faster than they play."""
        return self.frames_per_second / self.fps


def write_samples(
    sampler: Sampler,
    folder: str | os.PathLike[str],
    config: SampleConfig,
    marking: Marking,
    progress: Progress = silent,
) -> Written:
    """Write clips into a folder: each marked as synthetic, samples.json last.

    Args:
        sampler: makes the clips.
        folder: created if needed; what an earlier call wrote there is removed.
        config: what to make; its device, certificate and key were for whoever made `sampler` and `marking`.
        marking: how the files say that they are synthetic, and of which model.
        progress: told of clips.

    Raises:
        ConfigError: an unknown label, a size or codec that no such file can have, too many clips for a grid:
            before anything is written.
        ResumableError: another process writes into the folder.
        StorageError: a file cannot be written or encoded.
    """
    began, call = time.perf_counter(), _Call(sampler, Path(folder), config, marking)
    rows = (call.row_writer(i, wish) for i, wish in enumerate(call.wishes()))
    clips: list[Path] = []
    with sample_folder(call.root, call.names()) as listing:
        listing.write(call.head())
        for i, row in enumerate(_in_order(rows, call.writers)):
            listing.write(b",\n  " * (i > 0) + json.dumps(row).encode())
            clips.append(call.root / str(row["file"]))
            progress(i + 1, config.num, f"{i + 1} of {config.num} clips")
        call.write_others()
        listing.write(b"\n ]\n}\n")
    return Written(
        clips=tuple(clips),
        contact_sheet=call.root / SHEET_FILE,
        grid=call.root / call.grid_file if call.grid else None,
        listing=call.root / LISTING_FILE,
        frames=config.num * call.frames,
        seconds=time.perf_counter() - began,
        fps=call.fps,
    )


class _Call:
    """One call of `write_samples`, checked as a whole before anything is written."""

    def __init__(self, sampler: Sampler, root: Path, config: SampleConfig, marking: Marking) -> None:
        self.sampler, self.root, self.config, self.marking = sampler, root, config, marking
        record = sampler.record
        self.fps, self.frames = config.fps or record.fps, config.frames or record.frames
        self.wishes()
        self.film = "mp4" if config.format == "npy" else config.format  # of a grid, and of clips that are films
        check_film(record.height, record.width, self.fps, self.film)
        self.encoder: Encoder | None = None
        if config.format != "npy" or config.grid:
            self.encoder = encoder_for(self.film, "auto" if self.film == "gif" else config.codec)
        self.grid: Grid | None = None
        if config.grid:
            walks = config.to_seed is not None
            self.grid = Grid(config.num, self.frames, record.height, record.width, one_row=walks)
        self.grid_file = f"grid.{self.film}"
        self.sheet: list[Uint8] = []

    def wishes(self) -> Iterator[Wish]:
        """The clips that are asked for."""
        return self.sampler.wishes(self.config.num, self.config.seed, self.config.label, self.config.to_seed)

    @property
    def writers(self) -> int:
        """Clips that are marked and encoded at a time."""
        bytes_of_clip = self.frames * self.sampler.record.height * self.sampler.record.width * 3
        return max(1, min(MOST_WRITERS, os.cpu_count() or 1, WRITER_BYTES // (COPIES * bytes_of_clip)))

    def file_of(self, place: int, wish: Wish) -> str:
        """Name of a clip's file; a label may be anything, and no part of it leads elsewhere."""
        label = re.sub(r"[^\w.-]+", "_", self.sampler.label_name(wish.label) or "")
        label = label.encode("utf-8", "ignore")[:100].decode(errors="ignore")
        end = "" if wish.to_seed is None else f"-to{wish.to_seed}"
        stem = "-".join([f"clip-{place:05d}", *([label] if label else []), f"seed{wish.seed}{end}"])
        return f"{stem}.{self.config.format}"

    def names(self) -> Iterator[str]:
        """Names of all files of this call, without the listing."""
        for place, wish in enumerate(self.wishes()):
            file = self.file_of(place, wish)
            yield from [file, f"{file}.json"] if self.config.format == "npy" else [file]
        yield from self.others()

    def others(self) -> list[str]:
        """Names of the files that show more than one clip."""
        return [SHEET_FILE, *([self.grid_file] if self.config.grid else [])]

    def head(self) -> bytes:
        """The listing up to its clips."""
        told = {
            "synthetic": True,
            "model": self.marking.model,
            "version": self.marking.version,
            "run": self.sampler.record.run,
            "weights_sha256": self.sampler.record.weights_sha256,
            "fps": self.fps,
            "frames": self.frames,
            "truncation": self.config.truncation,
            "others": self.others(),
        }
        return json.dumps(told, indent=1).encode().removesuffix(b"\n}") + b',\n "clips": [\n  '

    def row_writer(self, place: int, wish: Wish) -> Callable[[], dict[str, Any]]:
        """Make one clip now; what is returned writes it and gives its row of the listing."""
        clip_THWC = self.sampler.make(wish, self.frames, self.config.truncation)
        if place < SHEET_CLIPS:
            self.sheet.append(clip_THWC[spread(self.frames, SHEET_FRAMES)])
        if self.grid:
            self.grid.put(place, clip_THWC)
        return lambda: self._write_clip(self.file_of(place, wish), clip_THWC, wish)

    def _write_clip(self, file: str, clip_THWC: Uint8, wish: Wish) -> dict[str, Any]:
        marked_THWC = self.marking.watermarked(clip_THWC, wish.seed)
        row: dict[str, Any] = {"file": file}
        if self.config.format == "npy":
            row["about"] = f"{file}.json"
            about = {"synthetic": True, "fps": self.fps, **self.marking.tags(wish.seed)}
            write_atomic(self.root / f"{file}.json", json.dumps(about, indent=1).encode() + b"\n")
            content = _npy_bytes(marked_THWC)
        else:
            content = self._film_bytes(marked_THWC, wish.seed)
        write_atomic(self.root / file, content)
        walk = {} if wish.to_seed is None else {"to_seed": wish.to_seed, "share": round(wish.share, 6)}
        label, digest = self.sampler.label_name(wish.label), hashlib.sha256(content).hexdigest()
        return {**row, "seed": wish.seed, **walk, "label": label, "sha256": digest}

    def _film_bytes(self, marked_THWC: Uint8, seed: int) -> bytes:
        film = film_bytes(marked_THWC, self.fps, self.film, self.encoder, self.marking.tags(seed))
        return self.marking.signed(film, f".{self.film}", seed)

    def write_others(self) -> None:
        """Write what shows more than one clip."""
        seed = self.config.seed
        sheet_HWC = self.marking.watermarked(contact_sheet(self.sheet)[None], seed)[0]
        write_atomic(self.root / SHEET_FILE, self.marking.signed(png_bytes(sheet_HWC), ".png", seed))
        if self.grid:
            marked_THWC = self.marking.watermarked(self.grid.film_THWC, seed)
            write_atomic(self.root / self.grid_file, self._film_bytes(marked_THWC, seed))


def _npy_bytes(array: Uint8) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _in_order(jobs: Iterator[Callable[[], T]], workers: int) -> Generator[T]:
    """Results of jobs in their order; `workers` threads do them, while the next ones are being made here."""
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, "vgan-write")
    try:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
