"""Plain backgrounds get sprites, filmed scenes are drawn frame by frame, and who asks for one gets it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_records import commit_batches, keep_batch, made_video
from shapes_dataset import write_dataset
from typer.testing import CliRunner

from flows.cli.app import app
from vgan.config import IngestConfig, TrainConfig
from vgan.data.manifest import load_dataset
from vgan.data.shards.formats import Uint8, encode_clip
from vgan.data.shards.writer import Sample
from vgan.errors import CorruptDataError
from vgan.records import Dataset
from vgan.training.drawing import CLIPS, SHARDS, choose, evenly, plain_share
from vgan.training.loop import build_state
from vgan.training.plan import prepare, read_config, resolve, run_key
from vgan.training.process import train
from vgan.training.warm_start import match
from vgan.workspace import Workspace

FRAMES, SIZE = 4, 16


def scene(seed: int) -> Uint8:
    """A wall with a texture of its own, before which something dark passes: [3, T, H, W]."""
    random = np.random.default_rng(seed)
    coarse_CHW = random.integers(40, 220, (3, SIZE // 4, SIZE // 4))
    clip_CTHW = np.repeat(coarse_CHW.repeat(4, 1).repeat(4, 2)[:, None], FRAMES, 1).astype(np.uint8)
    for moment in range(FRAMES):
        clip_CTHW[:, moment, 4:12, 3 * moment : 3 * moment + 4] = 10
    return clip_CTHW


def write_scenes(workspace: Workspace, name: str = "scenes", clips: int = 12) -> Dataset:
    config = IngestConfig(frames=FRAMES, height=SIZE, width=SIZE, labels="none", format="npy")
    digests = [f"{index:016x}" + "1" * 48 for index in range(clips)]
    videos = [made_video(digest, label=None, split="train") for digest in digests]
    samples = [
        Sample(f"{digest[:16]}-00000", "npy", encode_clip(scene(index), "npy", config.fps), {"label": None})
        for index, digest in enumerate(digests)
    ]
    batch = keep_batch(workspace.dataset(name), "0" * 64, videos, {"train": samples, "heldout": []})
    return commit_batches(workspace.dataset(name), config, [None] * clips, [batch])


def test_shapes_on_black_get_sprites_and_things_before_a_wall_are_drawn_frame_by_frame(workspace):
    asked = TrainConfig()
    shapes = resolve(workspace, load_dataset(workspace, "shapes"), asked)
    assert (shapes.drawing, shapes.plain_share, shapes.network.generator.sprites) == ("sprites", 1.0, 1)
    walls = resolve(workspace, write_scenes(workspace), asked)
    assert walls.drawing == "frames" and walls.plain_share is not None and walls.plain_share < 0.5
    assert walls.network.generator.sprites == 0
    assert not any(name.startswith(("sprites.", "courses.")) for name in generator_of(walls))


def generator_of(run) -> dict[str, torch.Tensor]:
    return build_state(run, torch.device("cpu")).generator.state_dict()


def test_what_passes_and_a_colour_that_wavers_a_little_leave_a_background_plain():
    clip_CTHW = np.full((3, 8, 16, 16), 200, np.uint8)
    clip_CTHW[:, np.arange(8), :, np.arange(0, 16, 2)] = 0  # crosses the whole picture
    clip_CTHW[:, :, ::2] -= 15 * (clip_CTHW[:, :, ::2] > 0).astype(np.uint8)
    assert plain_share(clip_CTHW[None]) == 1.0
    half = np.full((3, 8, 16, 16), 200, np.uint8)
    half[1, :, :, :6] = 150  # one channel is enough to be another colour
    assert plain_share(half[None]) == 10 / 16
    assert plain_share(np.stack([clip_CTHW, clip_CTHW, half])) == 1.0  # the median clip's
    assert plain_share(np.empty((0, 3, 8, 16, 16), np.uint8)) == 1.0


def test_few_are_looked_at_however_many_there_are():
    assert evenly(3, CLIPS) == [0, 1, 2] and evenly(0, SHARDS) == []
    many = evenly(100_000, CLIPS)
    assert len(many) == CLIPS and (many[0], many[-1]) == (0, 99_999)


@pytest.mark.parametrize("drawing, sprites", [("sprites", 1), ("frames", 0)])
def test_a_drawing_that_is_asked_for_is_taken_without_looking(workspace, drawing, sprites):
    dataset, config = load_dataset(workspace, "shapes"), TrainConfig(drawing=drawing)
    for shard in workspace.dataset("shapes").shards.iterdir():
        shard.unlink()
    run = resolve(workspace, dataset, config)
    assert (run.drawing, run.plain_share, run.network.generator.sprites) == (drawing, None, sprites)
    with pytest.raises(CorruptDataError, match="missing"):
        choose(workspace, dataset, TrainConfig())


def test_the_drawing_is_part_of_the_runs_key_and_a_resumed_run_has_the_same(workspace):
    dataset = load_dataset(workspace, "shapes")
    assert len({run_key(dataset, TrainConfig(drawing=asked)) for asked in ("auto", "sprites", "frames")}) == 3
    key = prepare(workspace, dataset, TrainConfig())
    first = read_config(workspace.run(key))
    write_dataset(workspace, clips=25)  # another version since
    assert prepare(workspace, dataset, TrainConfig()) == key
    assert read_config(workspace.run(key)) == first


@pytest.mark.e2e
def test_a_filmed_scene_trains_to_the_end_and_starts_from_a_run_with_sprites(workspace):
    write_scenes(workspace)
    config = TrainConfig(budget="0.02kclips", batch=4, threads=1, device="cpu")
    before, _ = train(workspace, "shapes", config)
    record, _ = train(workspace, "scenes", config.model_copy(update={"init": before.run}))
    assert record.generator.network["sprites"] == 0
    assert record.init is not None and "generator.content2.weight" in record.init.taken
    assert not any("sprites" in name for name in (*record.init.taken, *record.init.fresh))


def test_weights_of_whole_frames_leave_the_sprites_of_another_run_fresh(workspace):
    dataset = load_dataset(workspace, "shapes")
    frames, sprites = (resolve(workspace, dataset, TrainConfig(drawing=asked)) for asked in ("frames", "sprites"))
    found = match(generator_of(frames), generator_of(sprites), sprites.labels, sprites, "generator")
    assert any(name.startswith("generator.sprites.") for name in found.fresh)
    assert "generator.motion2.weight" in found.taken


@pytest.mark.e2e
@pytest.mark.parametrize(
    "options, said",
    [((), "every frame whole: "), (("--drawing", "sprites"), "sprites, drawn once a clip and moved, as asked for")],
)
def test_a_dry_run_says_how_it_draws_and_why(workspace, options, said):
    write_scenes(workspace)
    arguments = ["train", "--name", "scenes", "--workspace", str(workspace.root), "--budget", "0.02kclips"]
    result = CliRunner().invoke(app, [*arguments, "--batch", "4", "--dry-run", *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert said in result.output
    assert ("% of the clips' background is of one colour" in result.output) == (not options)
