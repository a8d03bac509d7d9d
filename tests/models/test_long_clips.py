"""A model that was trained on a few frames shows as many as are asked for, moving on smoothly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_generator import generator_record
from training.shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.models.blocks import legendre
from vgan.models.families import build_generator
from vgan.models.generate import generate_clip
from vgan.models.interface import Generator
from vgan.models.network import ClipShape, Drawing, r3_network
from vgan.sampling import Sampler
from vgan.training.process import train
from vgan.workspace import Workspace

TRAINED, LONG = 16, 64


def generator(frames: int = TRAINED, drawing: Drawing = "sprites") -> Generator:
    shape = ClipShape(frames=frames, height=16, width=16, labels=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_generator(generator_record(shape, network=r3_network("tiny", shape, drawing).generator))
    return network.eval().requires_grad_(False)


def steps(values: np.ndarray) -> np.ndarray:
    """Mean change from each frame to the next: [T - 1]."""
    return np.abs(np.diff(values.astype(np.float64), axis=0)).reshape(len(values) - 1, -1).mean(1)


def place(times: torch.Tensor, frames: int = TRAINED) -> torch.Tensor:
    """Where in the trained clip each moment lies, in frames: what a path of degree 1 shows."""
    return (legendre(times, frames, 2)[:, 1] + 1) / 2 * (frames - 1)


def test_the_trained_moments_stay_exactly_what_they_were():
    for frames in (2, 4, 8, 16):
        times_T = torch.cat([torch.arange(frames), torch.linspace(0, frames - 1, 37)]).float()
        x_T = times_T * (2 / (frames - 1)) - 1
        expected = [
            torch.ones_like(x_T),
            x_T,
            (3 * x_T * x_T - 1) / 2,
            (5 * x_T * ((3 * x_T * x_T - 1) / 2) - 2 * x_T) / 3,
        ]
        assert torch.equal(legendre(times_T, frames, 4), torch.stack(expected, 1))


def test_neither_place_nor_velocity_jumps_where_the_path_turns():
    times_T = torch.linspace(-50, 150, 20_001, dtype=torch.float64)  # a hundredth of a frame apart
    for degree in (2, 5):
        basis_TK = legendre(times_T, TRAINED, degree)
        speed_TK = basis_TK.diff(dim=0) / 0.01
        assert speed_TK.abs().max() <= 10 * 2 / (TRAINED - 1) + 1e-6  # P_4'(1) = 10, as at the trained ends
        assert speed_TK.diff(dim=0).abs().max() < 0.02 * speed_TK.abs().max()


def test_the_path_turns_half_a_frame_beyond_and_is_never_slower_than_half():
    place_T = place(torch.arange(1000, dtype=torch.float64))
    assert place_T.min() == pytest.approx(-0.5) and place_T.max() == pytest.approx(TRAINED - 0.5)
    change_T = place_T.diff().abs()
    assert change_T.min() >= 0.5 - 1e-9 and change_T.max() <= 1 + 1e-9
    assert place_T[TRAINED - 2 : TRAINED + 3].tolist() == pytest.approx([14, 15, 15.5, 15, 14])


@pytest.mark.parametrize("frames", [2, 4, 8, 16])
def test_no_moment_however_late_is_far_from_the_trained_ones(frames):
    late = legendre(torch.arange(10_000, dtype=torch.float64), frames, 5)
    assert torch.isfinite(late).all()
    assert late.abs().max() <= 1 + 10 / (frames - 1)  # half a frame along the steepest end


def assert_goes_on_moving(network: Generator) -> None:
    for seed in range(4):
        inside = steps(generate_clip(network, seed, seed % 2))
        beyond = steps(generate_clip(network, seed, seed % 2, LONG))[TRAINED - 1 :]
        assert len(beyond) == LONG - TRAINED
        assert beyond.max() <= 1.5 * inside.max()
        assert 0.5 * inside.mean() <= beyond.mean() <= 1.5 * inside.mean()
        assert beyond.min() >= 0.25 * inside.min()


@pytest.mark.parametrize("drawing", ["sprites", "frames"])
def test_a_long_clip_neither_freezes_nor_jumps_past_the_trained_length(drawing: Drawing):
    assert_goes_on_moving(generator(drawing=drawing))


@pytest.mark.e2e
def test_a_trained_model_goes_on_moving_past_the_trained_length(tmp_path: Path):
    workspace = Workspace.open(tmp_path)
    write_dataset(workspace, frames=TRAINED, size=16)
    trained, _ = train(workspace, "shapes", TrainConfig(budget="0.4kclips", threads=1))
    assert_goes_on_moving(Sampler(workspace.run(trained.run).generator).network)


def test_a_long_clip_begins_with_exactly_the_trained_one_and_a_short_one_is_its_beginning():
    network = generator()
    usual = generate_clip(network, 3, 1)
    assert np.array_equal(generate_clip(network, 3, 1, LONG)[:TRAINED], usual)
    assert np.array_equal(generate_clip(network, 3, 1, TRAINED + 1)[:TRAINED], usual)
    assert np.array_equal(generate_clip(network, 3, 1, 5), usual[:5])


def test_at_twice_the_rate_the_new_frames_lie_between_the_old_ones():
    network = generator()
    z_BZ, label_B = torch.randn(2, network.latent, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1])
    usual = network(z_BZ, label_B)
    twice = network(z_BZ, label_B, torch.arange(2 * TRAINED - 1) / 2)
    torch.testing.assert_close(twice[:, :, ::2], usual, atol=1e-5, rtol=1e-5)
    # Not by pixels: what moves further than its own size differs as much after half the way as after all of it.
    _, moves_BPK, basis_TK = network.codes(z_BZ, network.one_hot(label_B, z_BZ), torch.arange(2 * TRAINED - 1) / 2)
    path_BTP = torch.einsum("bpk,tk->btp", moves_BPK, basis_TK)
    between, before, after = path_BTP[:, 1::2], path_BTP[:, :-1:2], path_BTP[:, 2::2]
    whole = (after - before).norm(dim=2)
    assert all(((between - side).norm(dim=2) < whole).all() for side in (before, after))
