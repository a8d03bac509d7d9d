"""Classes decide where sprites go on the whole; noise decides how much they differ from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vgan.models.blocks import legendre
from vgan.models.course import PACE, Courses

FRAMES, DEGREE, PATH = 6, 3, 4


def courses(sprites: int = 2, labels: int = 2) -> Courses:
    torch.manual_seed(0)
    return Courses(sprites, PATH, DEGREE, labels)


def moves(clips: int = 5) -> tuple[Tensor, Tensor]:
    """Weights [B, P, K] and polynomials [T, K]."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(clips, PATH, DEGREE, generator=random), legendre(torch.arange(FRAMES), FRAMES, DEGREE)


def one_hot(*labels: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), 2).float()


def test_before_training_a_course_is_the_path_seen_by_a_linear_layer():
    model, (moves_BPK, basis_TK) = courses(), moves()
    expected_BTS = model.place(torch.einsum("bpk,tk->btp", moves_BPK, basis_TK))
    place_BTS2 = model(moves_BPK, basis_TK, one_hot(0, 1, 0, 1, 0))
    assert place_BTS2.shape == (5, FRAMES, 2, 2)
    torch.testing.assert_close(place_BTS2.flatten(2), expected_BTS)


def test_a_class_of_no_spread_takes_one_course_and_leaves_the_others_theirs():
    model, (moves_BPK, basis_TK) = courses(sprites=1), moves(4)
    before_BTS2 = model(moves_BPK, basis_TK, one_hot(0, 0, 1, 1))
    with torch.no_grad():
        model.spread_RSK[1].fill_(-1e9)  # a factor of e^-6
        model.middle_RSK[1, 0, 1] = -0.7 / PACE  # x, at a constant speed
    place_BTS2 = model(moves_BPK, basis_TK, one_hot(0, 0, 1, 1))
    x_T = -0.7 * basis_TK[:, 1] + model.place.bias[0]
    torch.testing.assert_close(place_BTS2[:2, :, 0, 0], x_T.expand(2, -1), atol=0.02, rtol=0)
    assert torch.equal(place_BTS2[2:], before_BTS2[2:])


@pytest.mark.parametrize("labels_BL", [torch.zeros(5, 0), one_hot(0, 1, 0, 1, 0)])
def test_what_all_share_moves_all_clips_with_and_without_classes(labels_BL):
    model, (moves_BPK, basis_TK) = courses(labels=labels_BL.shape[1]), moves()
    with torch.no_grad():
        model.middle_RSK[0, :, 0] = 0.5 / PACE
    moved_BTS2 = model(moves_BPK, basis_TK, labels_BL)
    expected_BTS = model.place(torch.einsum("bpk,tk->btp", moves_BPK, basis_TK)) + 0.5
    torch.testing.assert_close(moved_BTS2.flatten(2), expected_BTS)


@pytest.mark.parametrize("spread", [-1e9, 1e9])
def test_no_factor_however_learnt_is_zero_or_infinite(spread):
    model, (moves_BPK, basis_TK) = courses(), moves()
    with torch.no_grad():
        model.spread_RSK.fill_(spread)
    place_BTS2 = model(moves_BPK, basis_TK, one_hot(0, 1, 0, 1, 0))
    assert place_BTS2.isfinite().all() and place_BTS2.std(0).min() > 0


def test_places_are_float32_also_where_bodies_are_not():
    model, (moves_BPK, basis_TK) = courses(), moves()
    labels_BL = one_hot(0, 1, 0, 1, 0)
    with torch.autocast("cpu", torch.bfloat16):
        place_BTS2 = model(moves_BPK, basis_TK, labels_BL)
    assert place_BTS2.dtype == torch.float32
    assert torch.equal(place_BTS2, model(moves_BPK, basis_TK, labels_BL))


def test_gradients_reach_middle_spread_and_noise():
    model, (moves_BPK, basis_TK) = courses(), moves()
    moves_BPK.requires_grad_()
    model(moves_BPK, basis_TK, one_hot(0, 1, 0, 1, 0)).square().sum().backward()
    for name, tensor in {"moves": moves_BPK, **dict(model.named_parameters())}.items():
        assert tensor.grad is not None and tensor.grad.abs().max() > 0, name
