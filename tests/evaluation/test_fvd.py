"""Promises of FVD: the user's file and no other, the field's protocol, and figures that arithmetic confirms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_detector import Projection, script
from torch import Tensor

from vgan.errors import ConfigError
from vgan.evaluation import fvd
from vgan.evaluation.fvd import Detector, load_detector

SHAPE = (4, 16, 16, 3)


class Narrow(Projection):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return x.flatten(1)[:, :10]


class Unfinished(Projection):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return torch.full([x.shape[0], 400], float("nan"))


class OtherSignature(Projection):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :400]


class Pair(Projection):
    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("fvd") / "network.pt"
    return load_detector(path, script(Projection(), path), SHAPE)


def some_clips(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def test_clips_reach_the_network_as_the_field_calls_it(detector: Detector) -> None:
    clips_NTHWC = some_clips(fvd.BATCH + 1)
    features_NF = detector.features(clips_NTHWC)
    x = torch.from_numpy(clips_NTHWC.astype(np.float32)).permute(0, 4, 1, 2, 3)
    assert features_NF.dtype == np.float32
    np.testing.assert_allclose(features_NF, Projection()(x, True, True, True).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(features_NF, detector.features(clips_NTHWC))


def test_a_file_of_another_hash_is_refused_before_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 47: the feature extractor is the file that the user named by path and hash, or it is not run."""
    path = tmp_path / "network.pt"
    promised = script(Projection(), path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ConfigError, match=promised) as caught:
        load_detector(path, promised, SHAPE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in caught.value.message
    assert "runs code" in caught.value.hint


def test_what_was_hashed_is_what_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.pt"
    promised = script(Projection(), path)
    load: Callable[..., object] = torch.jit.load

    def swapped_meanwhile(*arguments: object, **named: object) -> object:
        script(Unfinished(), path)
        return load(*arguments, **named)

    monkeypatch.setattr(torch.jit, "load", swapped_meanwhile)
    assert load_detector(path, promised, SHAPE).sha256 == promised


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Narrow, r"gives \[2, 10\] for 2 clips"),
        (Unfinished, "not finite"),
        (OtherSignature, r"fails on clips \[2, 3, 4, 16, 16\]"),
        (Pair, "gives tuple"),
    ],
)
def test_a_network_of_another_kind_is_told_before_any_clip_is_made(tmp_path, module, said) -> None:
    path = tmp_path / "network.pt"
    with pytest.raises(ConfigError, match=said) as caught:
        load_detector(path, script(module(), path), SHAPE)
    assert caught.value.hint and "\n" not in caught.value.message


def test_a_file_that_is_no_torchscript_or_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    with pytest.raises(ConfigError, match="there is no file"):
        load_detector(path, "0" * 64, SHAPE)
    path.write_bytes(b"weights")
    with pytest.raises(ConfigError, match="not a TorchScript file"):
        load_detector(path, hashlib.sha256(b"weights").hexdigest(), SHAPE)


def denman_beavers_root(matrix: np.ndarray) -> np.ndarray:
    """Principal square root by another way than eigenvectors (Denman and Beavers 1976)."""
    root, inverse = matrix, np.eye(len(matrix))
    for _ in range(20):  # it converges quadratically, and then rounding errors grow
        root, inverse = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2
    return root


def features(count: int, seed: int, shift: float = 0.0, width: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, width)) * np.linspace(0.5, 2, width) + shift).astype(np.float32)


def by_definition(real: np.ndarray, fake: np.ndarray, trace_of_root: float) -> float:
    means = real.mean(0, dtype=np.float64) - fake.mean(0, dtype=np.float64)
    one, other = (np.cov(side.astype(np.float64).T, bias=True) for side in (real, fake))
    return float(means @ means + np.trace(one) + np.trace(other) - 2 * trace_of_root)


def product_of_covariances(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    return np.cov(real.astype(np.float64).T, bias=True) @ np.cov(fake.astype(np.float64).T, bias=True)


def test_fvd_is_the_frechet_distance_with_covariances_divided_by_the_count() -> None:
    real, fake = features(200, 0, width=40), features(150, 1, shift=0.3, width=40)
    root = denman_beavers_root(product_of_covariances(real, fake))
    assert fvd.fvd(real, fake) == pytest.approx(by_definition(real, fake, np.trace(root)), rel=1e-9)
    assert fvd.fvd(real, real) == pytest.approx(0, abs=1e-9)


@pytest.mark.e2e
def test_fvd_of_fewer_clips_than_features_is_real_and_finite() -> None:
    """Where the product of covariances is singular, a general matrix root gives complex numbers or none at all."""
    real, fake = features(30, 0), features(40, 1)
    roots = np.sqrt(np.clip(np.linalg.eigvals(product_of_covariances(real, fake)).real, 0, None)).sum()
    assert fvd.fvd(real, fake) == pytest.approx(by_definition(real, fake, roots), rel=1e-4)


def test_kvd_is_the_unbiased_cubic_distance() -> None:
    real, fake = features(5, 0), features(4, 1, shift=0.5)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x.astype(np.float64) @ y.astype(np.float64)) / 400 + 1) ** 3

    within = [
        sum(kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j)
        / (len(side) * (len(side) - 1))
        for side in (real, fake)
    ]
    across = sum(kernel(x, y) for x in real for y in fake) / 20
    assert fvd.kvd(real, fake) == pytest.approx(sum(within) - 2 * across, rel=1e-6)


def test_the_names_say_how_many_clips_and_frames() -> None:
    assert fvd.figure_names(2048, 16) == ("fvd2048_16f", "kvd2048_16f")
    assert fvd.figure_names(100, 8) == ("fvd100_8f", "kvd100_8f")


def test_one_clip_of_each_video_is_drawn_by_the_seed_and_not_by_name() -> None:
    keys = [f"{video:016x}-{clip:05d}" for video in range(50) for clip in range(3)]
    chosen = fvd.one_of_each_video(keys, seed=0, most=20)
    np.testing.assert_array_equal(chosen, fvd.one_of_each_video(keys, seed=0, most=20))
    videos = {keys[place].partition("-")[0] for place in chosen}
    assert len(chosen) == len(videos) == 20
    assert videos != {f"{video:016x}" for video in range(20)}, "the first by name"
    assert {keys[place][-1] for place in chosen} == {"0", "1", "2"}
    assert set(chosen) != set(fvd.one_of_each_video(keys, seed=1, most=20))
    assert len(fvd.one_of_each_video(keys, seed=0, most=2048)) == 50


def test_a_longer_clip_gives_a_run_of_consecutive_frames_from_anywhere() -> None:
    numbered = np.broadcast_to(np.arange(20, dtype=np.uint8)[None, :, None, None, None], (40, 20, 2, 2, 3))
    runs = fvd.random_runs(numbered, 16, np.random.default_rng(0))
    assert runs.shape == (40, 16, 2, 2, 3)
    assert set(np.unique(np.diff(runs[:, :, 0, 0, 0], axis=1))) == {1}
    assert set(runs[:, 0, 0, 0, 0]) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(fvd.random_runs(numbered[:, :8], 16, np.random.default_rng(0)), numbered[:, :8])
