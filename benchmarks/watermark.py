"""How often the watermark is found, and how often where there is none: the tables of docs/provenance.md.

    python benchmarks/watermark.py --videos FOLDER [FOLDER ...]          # real clips, and some of `shapes`
    python benchmarks/watermark.py --videos FOLDER --clips 12            # sooner, and less exact

Clips are cut from the videos by the product's own decoder, marked, put through each treatment and searched. A video
that is smaller than a size gives no clips of that size. "Unmarked" are the same clips, treated alike, without the
mark, a few for each treatment; their spectra are also scored under many random keys.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from vgan.data.shapes import draw_shape, render
from vgan.media import watermark
from vgan.media.decode import Decoder, Sampling, VideoError
from vgan.media.films import film_bytes
from vgan.media.verify import find_watermark

Uint8 = npt.NDArray[np.uint8]
SIZES, LENGTHS = (16, 32, 64, 128, 256), (1, 8, 16, 32)
FPS, LARGEST, KEYS = 8.0, 256, 2000
ENDINGS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="folders of videos without the mark")
    parser.add_argument(
        "--clips", type=int, default=40, help="most real clips in a cell of a table; a sixth as many of shapes"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of the first table, in pixels")
    options = parser.parse_args()
    clips = list(read_clips(options.videos, options.clips))
    unmarked = Unmarked()
    print_sizes(clips, options.sizes, options.clips, unmarked)
    print_treatments(clips, options.clips, unmarked)
    unmarked.print_rates()


def read_clips(folders: list[Path], most: int) -> Iterator[Uint8]:
    """The first clips of the longest length of each video, at its own size or LARGEST."""
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in ENDINGS)
    for path in paths:
        try:
            side = min(LARGEST, smaller_side(path))
            sampling = Sampling(FPS, side, side, max_seconds=2 * LENGTHS[-1] / FPS)
            frames = [frame.pixels_CHW.transpose(1, 2, 0) for frame in Decoder(path, sampling)]
        except VideoError:
            continue
        for start in range(0, len(frames) - LENGTHS[-1] + 1, LENGTHS[-1])[: 1 + most // len(paths)]:
            yield np.stack(frames[start : start + LENGTHS[-1]])


def smaller_side(path: Path) -> int:
    decoder = Decoder(path, Sampling(FPS, 2, 2, max_seconds=0.01))
    list(decoder)
    return min(decoder.info.width, decoder.info.height)


def resized(clip_THWC: Uint8, height: int, width: int) -> Uint8:
    frames = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in clip_THWC]
    return np.stack([np.asarray(frame) for frame in frames])


def material(clips: list[Uint8], size: int, length: int, most: int) -> dict[str, list[Uint8]]:
    """Clips of a size and length by their kind."""
    large = [clip[:length] for clip in clips if clip.shape[1] >= size]
    real = [clip if clip.shape[1] == size else resized(clip, size, size) for clip in large[:: -(-len(large) // most)]]
    shapes = [render(draw_shape(0, number, LENGTHS[-1]), size)[:length] for number in range(most // 6)]
    return {"real": real, "shapes": shapes}


def half(clip_THWC: Uint8) -> Uint8:
    return resized(clip_THWC, clip_THWC.shape[1] // 2, clip_THWC.shape[2] // 2)


def h264(crf: int) -> Callable[[Uint8], float]:
    return lambda clip: score_of(mp4_bytes(clip, crf), "mp4")


def mp4_bytes(clip_THWC: Uint8, crf: int) -> bytes:
    """What x264 makes of a clip, as ffmpeg's defaults have it, without a process for each."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"crf": str(crf), "threads": "1"})
        _, stream.height, stream.width, _ = clip_THWC.shape
        stream.pix_fmt, stream.codec_context.colorspace, stream.codec_context.color_range = "yuv420p", 1, 1
        for frame in clip_THWC:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
    return file.getvalue()


def score_of(content: bytes, kind: str) -> float:
    """What `vgan verify-media` finds in the pixels of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{kind}"
        path.write_bytes(content)
        return find_watermark(path, kind).score


def png_score(clip_THWC: Uint8) -> float:
    file = io.BytesIO()
    Image.fromarray(clip_THWC[0]).save(file, "png")
    return score_of(file.getvalue(), "png")


def cropped(clip_THWC: Uint8) -> Uint8:
    edge = max(2, clip_THWC.shape[1] // 32 * 2)  # about 6 % on each side
    return np.ascontiguousarray(clip_THWC[:, edge:-edge, edge:-edge])


def twice(clip_THWC: Uint8) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(mp4_bytes(clip_THWC, 23))
        _, height, width, _ = clip_THWC.shape
        frames = [frame.pixels_CHW.transpose(1, 2, 0) for frame in Decoder(path, Sampling(FPS, height, width))]
    return h264(28)(np.stack(frames))


TREATMENTS: dict[str, Callable[[Uint8], float]] = {
    "none (npy)": watermark.detect,
    "H.264, crf 18": h264(18),
    "H.264, crf 23": h264(23),
    "H.264, crf 28": h264(28),
    "H.264, crf 33": h264(33),
    "half size": lambda clip: watermark.detect(half(clip)),
    "half size, then crf 28": lambda clip: h264(28)(half(clip)),
    "half size, then crf 33": lambda clip: h264(33)(half(clip)),
    "double size, then crf 28": lambda clip: h264(28)(resized(clip, 2 * clip.shape[1], 2 * clip.shape[2])),
    "crf 23, then crf 28": twice,
    "VP9 in webm": lambda clip: score_of(film_bytes(clip, FPS, "webm"), "webm"),
    "gif": lambda clip: score_of(film_bytes(clip, FPS, "gif"), "gif"),
    "first frame as png": png_score,
    "second half of the time, crf 28": lambda clip: h264(28)(clip[len(clip) // 2 :]),
    "6 % cropped on each side": lambda clip: watermark.detect(cropped(clip)),
    "mirrored": lambda clip: watermark.detect(np.ascontiguousarray(clip[:, :, ::-1])),
}


def psnr(clip_THWC: Uint8, marked_THWC: Uint8) -> float:
    error = np.square(marked_THWC.astype(np.float32) - clip_THWC).mean()
    return float(10 * np.log10(255**2 / error))


def print_sizes(clips: list[Uint8], sizes: list[int], most: int, unmarked: Unmarked) -> None:
    print("| px | frames | clips | PSNR dB | ms a clip | as it is | crf 28 | half size, then crf 28 |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        for length in LENGTHS:
            cells: list[tuple[float, float, float, float, float]] = []
            for clip in [clip for kind in material(clips, size, length, most).values() for clip in kind]:
                began = time.process_time()
                marked = watermark.embed(clip)
                spent = 1000 * (time.process_time() - began)
                scores = watermark.detect(marked), h264(28)(marked), h264(28)(half(marked))
                cells.append((psnr(clip, marked), spent, *scores))
                unmarked.see(clip)
            table = np.array(cells)
            found = " | ".join(share(table[:, column]) for column in (2, 3, 4))
            quality = f"{np.median(table[:, 0]):.1f} ({table[:, 0].min():.1f}) | {np.median(table[:, 1]):.0f}"
            print(f"| {size} | {length} | {len(cells)} | {quality} | {found} |", flush=True)


def share(scores: npt.NDArray[np.float64]) -> str:
    return f"{np.mean(scores >= watermark.THRESHOLD):.0%}"


def print_treatments(clips: list[Uint8], most: int, unmarked: Unmarked) -> None:
    print("\n| 64 px, 16 frames | real: found | median score | shapes: found | median score | unmarked, most |")
    print("|---|---|---|---|---|---|")
    kinds = material(clips, 64, 16, most)
    marked = {kind: [watermark.embed(clip) for clip in held] for kind, held in kinds.items()}
    for name, treat in TREATMENTS.items():
        cells: list[str] = []
        for kind in kinds:
            scores = np.array([treat(clip) for clip in marked[kind]])
            cells.append(f"{share(scores)} | {np.median(scores):.1f}")
        without = np.array([treat(clip) for held in kinds.values() for clip in held[: most // 6]])
        unmarked.scores += without.tolist()
        print(f"| {name} | {' | '.join(cells)} | {without.max():.1f} |", flush=True)


class Unmarked:
    """Scores where there is no mark."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.spectra: list[npt.NDArray[np.float32]] = []

    def see(self, clip_THWC: Uint8) -> None:
        self.scores.append(watermark.detect(clip_THWC))
        self.spectra.append(watermark._spectrum(clip_THWC.mean(0, dtype=np.float32) @ watermark._LUMA))

    def print_rates(self) -> None:
        found = np.mean(np.array(self.scores) >= watermark.THRESHOLD)
        print(f"\nunmarked, vgan's key: {found:.2%} of {len(self.scores)} searches, most {max(self.scores):.1f}")
        used = watermark._signs() != 0
        keys = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (KEYS, int(used.sum())))
        rates: list[float] = []
        for spectrum in self.spectra:
            scores: list[npt.NDArray[np.float32]] = []
            for width in watermark.WIDTHS:
                told = spectrum[used] * np.exp(-np.square(spectrum[used] / width) / 2)
                scores.append(keys @ told / np.sqrt(np.square(told).sum() + watermark.NOTHING**2))
            rates.append(float(np.mean(np.max(scores, axis=0) >= watermark.THRESHOLD)))
        print(f"unmarked, {KEYS} random keys: {np.mean(rates):.2%} of {len(rates)} clips, worst {max(rates):.2%}")


if __name__ == "__main__":
    main()
