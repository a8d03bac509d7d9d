from pathlib import Path

import numpy as np
import pytest
from made_runs import render

from vgan.config import IngestConfig
from vgan.data.ingest import ingest
from vgan.data.loading.loader import ClipSet
from vgan.data.manifest import load_dataset
from vgan.data.shapes import DIRECTIONS, draw_shape, write_videos
from vgan.evaluation.evidence import read_clips
from vgan.evaluation.probes import covered_cells, is_shapes, measure, summarise
from vgan.evaluation.spoil import blurred, frozen, noise, shuffled
from vgan.workspace import Workspace


@pytest.fixture(scope="module")
def real(shapes64):
    clips, labels = shapes64
    return measure(clips), labels


def figures(clips, labels, real):
    return summarise(measure(clips), labels, *real)


def assert_perfect(scores, slack=0.0):
    assert min(scores["direction"], scores["speed"], scores["one_object"]) >= 1 - slack
    assert scores["background"] <= 0.5 + 20 * slack
    assert scores["colour_drift"] <= 0.5 + 100 * slack
    assert scores["purity"] >= 0.97 - slack


@pytest.mark.parametrize(("frames", "size"), [(8, 32), (16, 64), (8, 16)])
def test_rendered_shapes_are_perfect_at_every_size(frames, size):
    clips, labels = render(48, seed=5, frames=frames, size=size)
    traits = measure(clips)
    assert is_shapes(DIRECTIONS, labels, traits)
    assert_perfect(summarise(traits, labels, traits, labels), slack=0.02 if size == 16 else 0.0)


def test_real_shapes_are_still_nearly_perfect_after_h264_and_ingest(tmp_path: Path):
    workspace = Workspace.open(tmp_path / "workspace")
    write_videos(tmp_path / "videos", num=24, size=64)
    config = IngestConfig(frames=8, height=32, width=32, fps=8, labels="folder", heldout=0.5)
    ingest(workspace, tmp_path / "videos", "shapes", config)
    dataset = load_dataset(workspace, "shapes")
    clips = ClipSet(workspace.dataset("shapes"), dataset, "train")
    traits = measure(read_clips(clips, np.arange(len(clips))))
    assert is_shapes(dataset.labels, clips.labels, traits)
    assert_perfect(summarise(traits, clips.labels, traits, clips.labels), slack=0.05)


def test_kind_and_size_are_told_apart(shapes64):
    clips, _ = shapes64
    cells = measure(clips).cell
    shapes = [draw_shape(0, i, 8) for i in range(len(clips))]
    assert [bool(cell & 8) for cell in cells] == [shape.kind == "disc" for shape in shapes]
    assert [bool(cell & 16) for cell in cells] == [shape.side > 11 for shape in shapes]
    for cell, shape in zip(cells.tolist(), shapes, strict=True):
        for bit, channel in enumerate(shape.colour):
            # Edge pixels are rounded, so a channel just at the border may fall on either side.
            assert abs(channel - 128) <= 2 or bool(cell >> bit & 1) == (channel >= 128)


def test_a_full_grey_frame_is_no_object(shapes64, real):
    scores = figures(np.full_like(shapes64[0], 128), shapes64[1], real)
    assert scores["one_object"] == scores["direction"] == scores["purity"] == 0
    assert scores["background"] == 128
    assert scores["colour_drift"] == 255


def test_a_black_clip_is_no_object(shapes64, real):
    scores = figures(np.zeros_like(shapes64[0]), shapes64[1], real)
    assert scores["one_object"] == scores["direction"] == scores["purity"] == 0


def test_random_pixels_are_no_object(shapes64, real):
    pixels = np.random.default_rng(0).integers(0, 256, shapes64[0].shape).astype(np.uint8)
    scores = figures(pixels, shapes64[1], real)
    assert scores["one_object"] == scores["direction"] == 0
    assert scores["background"] > 100


def test_blobs_and_a_single_kind_are_not_squares_told_from_discs(shapes64, real):
    clips, labels = shapes64
    assert figures(clips, labels, real)["kinds"] == 1
    assert figures(blurred(clips, np.random.default_rng(0)), labels, real)["kinds"] < 0.6  # blurred, all are discs
    for kind in (False, True):
        one = np.flatnonzero((real[0].cell & 8 > 0) == kind)
        assert 0.4 < figures(clips[one], labels[one], real)["kinds"] < 0.6
    assert figures(np.zeros_like(clips), labels, real)["kinds"] == 0


def test_two_objects_are_not_one(shapes64, real):
    clips, labels = shapes64
    both = np.maximum(clips, np.roll(clips, clips.shape[3] // 2, axis=3))  # its twin half a frame beside it
    scores = figures(both, labels, real)
    assert scores["one_object"] == scores["direction"] == scores["purity"] == 0
    assert scores["background"] > 2


def test_a_still_clip_has_no_direction_but_an_object(shapes64, real):
    scores = figures(frozen(shapes64[0], np.random.default_rng(0)), shapes64[1], real)
    assert scores["direction"] == scores["speed"] == 0
    assert scores["one_object"] == 1


def test_backwards_and_mislabelled_clips_go_the_wrong_way(shapes64, real):
    clips, labels = shapes64
    assert figures(np.ascontiguousarray(clips[:, ::-1]), labels, real)["direction"] == 0
    assert figures(clips, 1 - labels, real)["direction"] < 0.05


def test_a_clip_at_a_quarter_of_the_pace_has_the_direction_but_not_the_speed():
    slow, labels = render(32, frames=32)
    slow = slow[:, :8]
    usual, usual_labels = render(32)
    scores = figures(slow, labels, (measure(usual), usual_labels))
    assert scores["speed"] < 0.3 < scores["direction"]


def test_shuffled_time_spoils_the_speed(shapes64, real):
    assert figures(shuffled(shapes64[0], np.random.default_rng(0)), shapes64[1], real)["speed"] < 0.5


def test_noise_shows_in_the_background_and_blur_in_the_purity(shapes64, real):
    rng = np.random.default_rng(0)
    assert figures(noise(shapes64[0], rng), shapes64[1], real)["background"] > 15
    assert figures(blurred(shapes64[0], rng), shapes64[1], real)["purity"] < 0.8


def test_a_colour_that_flickers_drifts(shapes64, real):
    clips = shapes64[0].copy()
    clips[:, ::2] = clips[:, ::2, ..., ::-1]  # red and blue change places in every other frame
    assert figures(clips, shapes64[1], real)["colour_drift"] > 15


def test_one_clip_made_again_and_again_covers_one_kind(shapes64, real):
    traits, labels = real
    same = measure(np.repeat(shapes64[0][:1], 64, axis=0)).cell
    kinds = len(set(zip(traits.cell.tolist(), labels.tolist(), strict=True)))
    assert covered_cells(same, np.repeat(labels[:1], 64), traits.cell, labels) == pytest.approx(1 / kinds)
    assert covered_cells(traits.cell, labels, traits.cell, labels) == 1


def test_other_classes_or_other_clips_are_not_shapes(shapes64, real):
    clips, labels = shapes64
    assert not is_shapes(("left", "right"), labels, real[0])
    assert not is_shapes((), labels, real[0])
    assert not is_shapes(DIRECTIONS, labels, measure(noise(clips, np.random.default_rng(0))))
    assert not is_shapes(DIRECTIONS, labels, measure(frozen(clips, np.random.default_rng(0))))
