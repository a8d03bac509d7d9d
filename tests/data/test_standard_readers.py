"""Shards are opened by readers that know nothing of vgan, in a process of their own each."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from vgan.data.shapes import render_video
from vgan.data.shards.formats import KINDS, decode_clip, encode_clip
from vgan.data.shards.writer import Sample, write_shards

FRAMES, SIZE, CLIPS, FPS = 8, 32, 3, 12.5

# A reader gets a folder of shards for each kind, saves what it decoded as pixels [N, C, T, H, W], and prints the keys
# and descriptions that it saw. One process reads all kinds: importing the readers takes longer than reading.
COMMON = """
import io, json, pathlib, sys
import numpy as np
root, frames = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def strip(picture):
    return np.asarray(picture).reshape(frames, -1, picture.shape[1], 3).transpose(3, 0, 1, 2)
def video(payload):
    import av
    with av.open(io.BytesIO(payload)) as container:
        assert abs(float(container.streams.video[0].average_rate) - 12.5) < 1e-6
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).transpose(3, 0, 1, 2)
def main(read):
    seen = {}
    for kind in ("npy", "jpg", "mp4"):
        samples = list(read(kind, sorted(map(str, (root / kind).glob("*.tar")))))
        np.save(root / f"{kind}.npy", np.stack([pixels for _, _, pixels in samples]))
        seen[kind] = [[key, about] for key, about, _ in samples]
    print(json.dumps(seen))
"""
WEBDATASET = """
import webdataset
def read(kind, shards):
    samples = webdataset.WebDataset(shards, shardshuffle=False)
    pixels = {"npy": np.asarray, "jpg": strip, "mp4": video}[kind]
    for sample in samples.decode("rgb8") if kind == "jpg" else samples.decode():
        yield sample["__key__"], sample["json"], pixels(sample[kind])
main(read)
"""
DATASETS = """
import datasets
def read(kind, shards):
    rows = datasets.load_dataset("webdataset", data_files={"train": shards}, split="train", streaming=True)
    if kind == "mp4":
        rows = rows.cast_column("mp4", datasets.Video(decode=False))
    pixels = {
        "npy": lambda value: np.asarray(value, np.uint8),
        "jpg": lambda picture: strip(np.asarray(picture)),
        "mp4": lambda value: video(value["bytes"]),
    }[kind]
    for row in rows:
        yield row["__key__"], row["json"], pixels(row[kind])
main(read)
"""


def made_clips():
    frames_NTHWC = np.stack([render_video(0, number, size=SIZE, frames=FRAMES)[0] for number in range(CLIPS)])
    return np.ascontiguousarray(frames_NTHWC.transpose(0, 4, 1, 2, 3))


def abouts():
    return [
        {"label": "left", "source": f"left/{n}.mp4", "start_seconds": n * 0.5, "statistics": {"motion": 1.5}}
        for n in range(CLIPS)
    ]


def write_all(root):
    for kind in KINDS:
        samples = [
            Sample(f"{n:016x}-00000", kind, encode_clip(clip_CTHW, kind, FPS), about)
            for n, (clip_CTHW, about) in enumerate(zip(made_clips(), abouts(), strict=True))
        ]
        write_shards(root / kind, "train", samples)


def expected(kind):
    pixels_NCTHW = np.empty_like(made_clips())
    for clip_CTHW, out_CTHW in zip(made_clips(), pixels_NCTHW, strict=True):
        decode_clip(encode_clip(clip_CTHW, kind, FPS), kind, out_CTHW)
    return pixels_NCTHW.astype(np.int16)


@pytest.mark.parametrize("program", [WEBDATASET, DATASETS], ids=["webdataset", "hugging-face-datasets"])
def test_another_reader_sees_the_same_keys_descriptions_and_pixels(tmp_path, program):
    if program is DATASETS and not find_spec("datasets"):
        pytest.skip("datasets, which only tests use, is not installed")
    write_all(tmp_path)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", COMMON + program, str(tmp_path), str(FRAMES)]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    for kind in KINDS:
        assert [key for key, _ in seen[kind]] == [f"{n:016x}-00000" for n in range(CLIPS)]
        assert [about for _, about in seen[kind]] == abouts()
        apart = np.abs(np.load(tmp_path / f"{kind}.npy") - expected(kind))
        # Every player scales the chroma of an mp4 up in its own way.
        assert apart.mean() < 2 if kind == "mp4" else apart.max() == 0
