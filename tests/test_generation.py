"""What a folder of generated clips promises: all of one call, all marked, whatever is asked for."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import made_generator
import numpy as np
import pytest
from made_generator import generator_record
from pydantic import ValidationError

from vgan.config import SampleConfig
from vgan.errors import ConfigError, ResumableError
from vgan.generation.grid import GAP, Grid
from vgan.generation.write import Written, write_samples
from vgan.media import watermark
from vgan.media.decode import Decoder, Sampling
from vgan.media.marking import Marking
from vgan.models.network import ClipShape
from vgan.sampling import Sampler
from vgan.storage import lease

MARKING = Marking("my-model", "3", "toys-1")


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    folder = tmp_path_factory.mktemp("generator")
    made_generator.write_generator(folder, generator_record())
    return Sampler(folder)


def write(sampler: Sampler, out: Path, **options: Any) -> Written:
    return write_samples(sampler, out, SampleConfig(**options), MARKING)


def listed(out: Path) -> set[str]:
    """All files that the listing of a folder names, whose hashes are as it says."""
    listing = json.loads((out / "samples.json").read_bytes())
    for row in listing["clips"]:
        assert hashlib.sha256((out / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    clips = {row[key] for row in listing["clips"] for key in ("file", "about") if key in row}
    return clips | {*listing["others"], "samples.json"}


def present(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_every_film_is_marked_and_the_listing_says_of_which_model_seed_and_class_it_is(sampler, tmp_path) -> None:
    written = write(sampler, tmp_path / "out", num=3, seed=5, grid=True)
    listing = json.loads(written.listing.read_bytes())
    assert (listing["synthetic"], listing["model"], listing["version"]) == (True, "my-model", "3")
    assert [(row["seed"], row["label"]) for row in listing["clips"]] == [(5, "left"), (6, "up"), (7, "left")]
    assert listed(tmp_path / "out") == present(tmp_path / "out")
    assert written.grid is not None
    for file in (*written.clips, written.grid, written.contact_sheet):
        assert b"trainedAlgorithmicMedia" in file.read_bytes(), file.name
    frames = np.stack([frame.pixels_CHW for frame in Decoder(written.clips[0], Sampling(8, 16, 16))])
    assert len(frames) == 4


def test_the_same_call_gives_the_same_bytes_in_another_folder_and_over_itself(sampler, tmp_path) -> None:
    options = {"num": 2, "seed": 1, "format": "npy", "truncation": 0.7}
    for out in ("a", "b", "b"):
        write(sampler, tmp_path / out, **options)
    for file in present(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_pixels_come_with_a_sidecar_that_says_they_are_synthetic(sampler, tmp_path) -> None:
    written = write(sampler, tmp_path, num=2, seed=4, format="npy", label="up", frames=6)
    pixels_THWC = np.load(written.clips[0], allow_pickle=False)
    assert np.array_equal(pixels_THWC, watermark.embed(sampler.sample(1, 4, "up", 6)[0]))
    about = json.loads((tmp_path / f"{written.clips[0].name}.json").read_bytes())
    assert about["synthetic"] is True and about["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert (about["vgan_model"], about["vgan_seed"], about["fps"]) == ("my-model", "4", 8.0)
    assert listed(tmp_path) == present(tmp_path)


def test_a_walk_is_a_row_of_clips_from_one_seed_to_the_other(sampler, tmp_path) -> None:
    written = write(sampler, tmp_path, num=3, seed=2, to_seed=9, format="npy", label="up", grid=True)
    ends = [watermark.embed(sampler.sample(1, seed, "up")[0]) for seed in (2, 9)]
    assert np.array_equal(np.load(written.clips[0]), ends[0]) and np.array_equal(np.load(written.clips[2]), ends[1])
    rows = json.loads(written.listing.read_bytes())["clips"]
    assert [(row["seed"], row["to_seed"], row["share"]) for row in rows] == [(2, 9, 0.0), (2, 9, 0.5), (2, 9, 1.0)]
    assert written.grid is not None and written.grid.suffix == ".mp4"
    decoder = Decoder(written.grid, Sampling(8, 16, 16))
    assert len(list(decoder)) == 4
    assert (decoder.info.width, decoder.info.height) == (3 * (16 + GAP), 16 + GAP), "a walk is one row"


def test_a_grid_shows_each_clip_at_its_place() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 24, 3), np.uint8)
    grid = Grid(5, 3, 16, 24)
    for place, clip_THWC in enumerate(clips):
        grid.put(place, clip_THWC)
    assert grid.columns == 2 and grid.film_THWC.shape == (3, 3 * 18, 2 * 26, 3)
    assert np.array_equal(grid.film_THWC[:, 18:34, 26:50], clips[3])
    assert np.array_equal(grid.film_THWC[:, 36:52, 0:24], clips[4])


@pytest.mark.parametrize("asked", [(4000, 16, 64, 64), (100_000, 4, 16, 16), (2, 16, 4096, 4096)])
def test_a_grid_that_does_not_fit_into_memory_or_players_is_refused(asked) -> None:
    with pytest.raises(ConfigError, match="too large"):
        Grid(*asked)
    Grid(300, 16, 64, 64)


def test_a_shorter_rerun_leaves_nothing_of_the_run_before(sampler, tmp_path) -> None:
    out = tmp_path / "out"
    write(sampler, out, num=3, seed=0, format="npy", grid=True)
    (out / "mine.txt").write_text("a person's own")
    write(sampler, out, num=1, seed=7, format="gif")
    assert present(out) == listed(out) | {"mine.txt"}
    assert {path.suffix for path in out.iterdir() if path.name.startswith("clip")} == {".gif"}


def test_a_run_that_was_killed_is_known_as_unfinished_and_cleaned_up_by_the_next(sampler, tmp_path) -> None:
    """FAULTS 1: a kill between two clips leaves a folder without a listing, of which the next call keeps nothing."""
    out = tmp_path / "out"
    write(sampler, out, num=2, seed=0, format="npy")
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from vgan.config import SampleConfig\nfrom vgan.generation.write import write_samples\n"
        "from vgan.media.marking import Marking\nfrom vgan.sampling import Sampler\n"
        "from made_generator import generator_record, write_generator\n"
        "write_generator(__import__('pathlib').Path(sys.argv[2]), generator_record())\n"
        "write_samples(Sampler(sys.argv[2]), sys.argv[1], SampleConfig(num=3, seed=50, format='npy'),"
        " Marking('m', '', 'r'))"
    )
    env = {**os.environ, "VGAN_FAULT": "before_rename:5"}
    command = [sys.executable, "-c", code, str(out), str(tmp_path / "generator")]
    killed = subprocess.run(command, env=env, cwd=Path(__file__).parents[1], check=False, timeout=100)
    assert killed.returncode == -9
    assert not (out / "samples.json").exists(), "nothing says that these samples are whole"
    assert any("seed50" in name for name in present(out)), "it was killed while it wrote"
    write(sampler, out, num=1, seed=3, format="npy")
    assert present(out) == listed(out)
    assert not list(out.glob(".tmp-*"))


def test_two_at_once_do_not_mix_in_one_folder(sampler, tmp_path) -> None:
    """FAULTS 41: a folder that is being written is refused to a second writer."""
    with lease(tmp_path / "samples.lease"), pytest.raises(ResumableError, match="in use"):
        write(sampler, tmp_path, num=1)


def test_a_listing_that_is_not_ours_removes_nothing(sampler, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").write_text("kept")
    (out / "samples.json").write_text(
        json.dumps({"clips": [{"file": "../precious"}, {"file": "sub/x"}, {"file": ".."}]})
    )
    write(sampler, out, num=1, format="npy")
    assert (tmp_path / "precious").exists()
    (out / "samples.json").write_text("[1]")
    write(sampler, out, num=1, format="npy")
    assert listed(out) == present(out)


@pytest.mark.parametrize(
    "options", [{"label": "down"}, {"format": "gif", "fps": 60.0}, {"num": 100_000, "grid": True}], ids=str
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(sampler, tmp_path, options) -> None:
    with pytest.raises(ConfigError):
        write(sampler, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"to_seed": 0}, "to_seed"),
        ({"num": 1, "to_seed": 5}, "num"),
        ({"truncation": 0}, "truncation"),
        ({"format": "webm", "codec": "h264"}, "codec"),
        ({"format": "gif", "codec": "vp9"}, "codec"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_name(values, named) -> None:
    with pytest.raises(ValidationError, match=named):
        SampleConfig(**values)


@pytest.mark.parametrize("below", ["", "deeper/down"])
def test_a_file_in_the_place_of_the_folder_is_named(sampler, tmp_path, below) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="file is a file"):
        write(sampler, tmp_path / "file" / below, num=1)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_label_leads_to_no_other_folder(tmp_path) -> None:
    labels = ("../../etc/é" + "x" * 300, "a/b")
    made_generator.write_generator(tmp_path / "g", generator_record(labels=labels))
    written = write(Sampler(tmp_path / "g"), tmp_path / "out", num=2, format="npy")
    assert all(path.parent == tmp_path / "out" and len(os.fsencode(path.name)) < 200 for path in written.clips)
    rows = json.loads(written.listing.read_bytes())["clips"]
    assert [row["label"] for row in rows] == list(labels)


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_number_of_clips(tmp_path) -> None:
    shape = ClipShape(frames=16, height=64, width=64, labels=0)
    made_generator.write_generator(tmp_path / "g", generator_record(shape, labels=()))
    code = (
        "import sys; sys.path.insert(0, 'tests')\nimport torch; torch.set_num_threads(1)\n"
        "import vgan.generation.write as writing\nfrom peak_memory import peak_mb\n"
        "from vgan.config import SampleConfig\nfrom vgan.media.marking import Marking\n"
        "from vgan.sampling import Sampler\nsampler, marking = Sampler(sys.argv[1]), Marking('m', '', 'r')\n"
        "def most(num):\n"
        "    config = SampleConfig(num=num, format='npy')\n"
        "    writing.write_samples(sampler, sys.argv[2], config, marking)\n"
        "    return peak_mb()\n"
        "few = most(24)\nprint(most(160) - few)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "g"), str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    grown, more = float(done.stdout), 136 * 16 * 64 * 64 * 3 / 1e6
    assert more > 25 and grown < more / 3, f"{grown:.1f} MB more for clips of {more:.1f} MB"


def test_the_speed_of_a_call_is_told() -> None:
    written = Written((), Path("s"), None, Path("l"), frames=64, seconds=4.0, fps=8.0)
    assert written.frames_per_second == 16 and written.real_time_factor == 2
