import numpy as np
import torch

from vgan.models.blocks import Film, Residual, costly, legendre, pixel_norm


def test_legendre_paths_are_numpys_legendre_polynomials():
    times_T = torch.arange(9, dtype=torch.float64)
    expected = np.polynomial.legendre.legvander(np.linspace(-1, 1, 9), 4)
    np.testing.assert_allclose(legendre(times_T, 9, 5).numpy(), expected, atol=1e-12)


def test_times_beyond_the_clip_walk_back_and_stay_bounded():
    basis_TK = legendre(torch.arange(40, dtype=torch.float64), 8, 5)
    assert torch.equal(basis_TK[9], basis_TK[7])  # two frames to turn
    assert torch.equal(basis_TK[16], basis_TK[0])
    assert torch.equal(basis_TK[18], basis_TK[0])
    assert basis_TK[:8].abs().max() <= 1 < basis_TK.abs().max() < 3


def test_times_between_frames_are_allowed():
    basis_TK = legendre(torch.tensor([2.5], dtype=torch.float64), 6, 3)
    torch.testing.assert_close(basis_TK, torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64))


def test_pixel_norm_makes_every_place_mean_square_one():
    x_NCHW = torch.randn(2, 5, 3, 4, dtype=torch.float64) * 7
    mean_square = pixel_norm(x_NCHW).square().mean(1)
    torch.testing.assert_close(mean_square, torch.ones_like(mean_square), atol=1e-5, rtol=0)


def test_a_residual_block_starts_close_to_the_identity():
    torch.manual_seed(0)
    x_NCHW = torch.randn(4, 32, 8, 8)
    change = Residual(32)(x_NCHW) - x_NCHW
    assert 0 < change.std() < 0.25 * x_NCHW.std()


def test_film_with_zero_weights_is_the_identity():
    film = Film(6, 3)
    torch.nn.init.zeros_(film.affine.weight)
    x_NCHW = torch.randn(2, 3, 4, 4)
    assert torch.equal(film(x_NCHW, torch.randn(2, 6)), x_NCHW)


def test_what_a_layer_draws_adds_its_price_to_the_gradient_and_changes_no_pixel():
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    paid = costly(x, 0.7)
    assert torch.equal(paid, x)
    (got,) = torch.autograd.grad(paid.pow(3).sum(), x)
    (wanted,) = torch.autograd.grad(x.pow(3).sum() + 0.7 * x.square().mean(), x)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-12)
