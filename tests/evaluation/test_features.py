import numpy as np
import pytest
from made_runs import render

from vgan.evaluation.features import clip_blocks, embed, fingerprint, motion_blocks, weights
from vgan.evaluation.space import DIMENSIONS, Space


@pytest.mark.parametrize(("frames", "height", "width"), [(2, 16, 16), (5, 24, 40), (16, 64, 64), (3, 256, 128)])
def test_clips_of_any_size_get_equally_many_finite_features(frames, height, width):
    clips = np.random.default_rng(0).integers(0, 256, (3, frames, height, width, 3)).astype(np.uint8)
    embedding = embed(clips)
    assert embedding.clip_ND.shape == (3, sum(clip_blocks()))
    assert embedding.motion_ND.shape == (3, sum(motion_blocks()))
    assert np.isfinite(embedding.clip_ND).all()
    assert np.isfinite(embedding.motion_ND).all()


def test_the_batch_a_clip_is_in_leaves_its_features_alone(shapes64):
    clips = shapes64[0]
    together, alone = embed(clips[:40]), embed(clips[39:40])
    np.testing.assert_allclose(together.clip_ND[39], alone.clip_ND[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.motion_ND[39], alone.motion_ND[0], rtol=1e-4, atol=1e-5)


def test_embedding_twice_gives_the_same_bits(shapes64):
    first, second = embed(shapes64[0][:8]), embed(shapes64[0][:8])
    assert (first.clip_ND == second.clip_ND).all()
    assert (first.motion_ND == second.motion_ND).all()


def test_half_of_the_first_filters_answer_to_change_alone():
    kernel = weights()[0]
    assert kernel[: len(kernel) // 2].sum(dim=2).abs().max() < 1e-6
    assert kernel[len(kernel) // 2 :].sum(dim=2).abs().max() > 0.1


def test_a_frozen_clip_has_no_motion_features():
    still = np.repeat(render(4)[0][:, :1], 8, axis=1)
    assert np.abs(embed(still).motion_ND).max() == 0


def test_the_fingerprint_names_these_weights():
    # A change here is a change of protocol: figures before and after cannot be compared.
    assert fingerprint() == "ecced54392082120"


@pytest.mark.parametrize(
    "clips",
    [
        np.zeros((2, 1, 16, 16, 3), np.uint8),
        np.zeros((2, 4, 16, 16, 3), np.float32),
        np.zeros((4, 16, 16, 3), np.uint8),
    ],
)
def test_what_is_not_a_set_of_clips_is_refused(clips):
    with pytest.raises(ValueError, match=r"clips must be uint8 \[N, T >= 2, H, W, 3\]"):
        embed(clips)


def test_the_real_clips_have_unit_variance_in_their_own_space(shapes64):
    clips, labels = shapes64
    embedding = embed(clips)
    points = Space.fit(embedding, 0).clip(embedding, labels)
    assert points.shape == (64, DIMENSIONS)
    assert points.var(0).sum() == pytest.approx(1, rel=0.5)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-9)


def test_labels_are_appended_to_the_coordinates(shapes64):
    clips, labels = shapes64
    embedding = embed(clips)
    points = Space.fit(embedding, 2).motion(embedding, labels)
    assert (points[:, -2:] == np.eye(2)[labels]).all()


def test_real_clips_that_never_change_give_finite_coordinates():
    black = embed(np.zeros((6, 4, 16, 16, 3), np.uint8))
    labels = np.zeros(6, np.int64)
    noise = embed(np.random.default_rng(0).integers(0, 256, (6, 4, 16, 16, 3)).astype(np.uint8))
    assert np.isfinite(Space.fit(black, 0).clip(noise, labels)).all()
