import math

import torch
from torch import nn

from vgan.training.losses import (
    discriminator_loss,
    generator_loss,
    generator_slopes,
    gradient_norms,
    gradient_of,
    nearby_norms,
)

REAL_B = torch.tensor([1.0, -0.5, 3.0], dtype=torch.float64)
FAKE_B = torch.tensor([0.2, 0.7, -4.0], dtype=torch.float64)


def test_losses_compare_each_real_clip_with_its_generated_partner():
    expected = sum(math.log1p(math.exp(-(r - f))) for r, f in zip(REAL_B.tolist(), FAKE_B.tolist(), strict=True)) / 3
    assert math.isclose(discriminator_loss(REAL_B, FAKE_B).item(), expected, rel_tol=1e-12)


def test_the_generators_loss_is_the_discriminators_with_roles_exchanged():
    assert generator_loss(REAL_B, FAKE_B) == discriminator_loss(FAKE_B, REAL_B)
    assert generator_loss(REAL_B, FAKE_B) != discriminator_loss(REAL_B, FAKE_B)


def test_equal_scores_cost_log_two():
    assert math.isclose(discriminator_loss(REAL_B, REAL_B).item(), math.log(2), rel_tol=1e-12)


def test_the_penalty_of_a_linear_score_is_its_weights_length():
    weight_CTHW = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    video_BCTHW = torch.randn(5, 3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    logits_B = (video_BCTHW * weight_CTHW).sum((1, 2, 3, 4))
    expected_B = weight_CTHW.square().sum().expand(5) / 4
    torch.testing.assert_close(gradient_norms(logits_B, video_BCTHW), expected_B)


def test_each_clip_has_its_own_penalty():
    video_BCTHW = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    logits_B = video_BCTHW.square().sum((1, 2, 3, 4)) * torch.tensor([1.0, 10.0], dtype=torch.float64)
    expected_B = torch.tensor([4.0, 400.0]).double() * video_BCTHW.square().sum((1, 2, 3, 4)) / 2
    torch.testing.assert_close(gradient_norms(logits_B, video_BCTHW), expected_B)


def test_the_penaltys_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    score = nn.Sequential(nn.Flatten(), nn.Linear(24, 7), nn.Softplus(), nn.Linear(7, 1)).double()
    video_BCTHW = torch.randn(3, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def penalty() -> torch.Tensor:
        return gradient_norms(score(video_BCTHW)[:, 0], video_BCTHW).mean()

    weight = score[1].weight
    (exact,) = torch.autograd.grad(penalty(), weight)
    for row, column in [(0, 0), (3, 11), (6, 23)]:
        with torch.no_grad():
            weight[row, column] += 1e-6
        high = penalty().item()
        with torch.no_grad():
            weight[row, column] -= 2e-6
        low = penalty().item()
        with torch.no_grad():
            weight[row, column] += 1e-6
        assert math.isclose(exact[row, column].item(), (high - low) / 2e-6, rel_tol=1e-5, abs_tol=1e-9)


def test_the_losses_gradients_are_closed_forms():
    """d softplus(-(r - f)) = -+ sigmoid(f - r) / B, for the generator's loss with the roles exchanged."""
    real_B, fake_B = REAL_B.clone().requires_grad_(), FAKE_B.clone().requires_grad_()
    by_real_B, by_fake_B = torch.autograd.grad(discriminator_loss(real_B, fake_B), [real_B, fake_B])
    pairs = zip(REAL_B.tolist(), FAKE_B.tolist(), strict=True)
    sigmoid_B = torch.tensor([1 / (1 + math.exp(r - f)) for r, f in pairs], dtype=torch.float64)
    torch.testing.assert_close(by_real_B, -sigmoid_B / 3, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_fake_B, sigmoid_B / 3, rtol=1e-12, atol=0)
    (by_fake_B,) = torch.autograd.grad(generator_loss(real_B, fake_B), fake_B)
    torch.testing.assert_close(generator_slopes(REAL_B, FAKE_B), by_fake_B, rtol=1e-12, atol=0)


def test_the_losses_stay_finite_for_logits_of_any_size():
    large_B = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    for loss in (discriminator_loss, generator_loss):
        value = loss(large_B, -large_B)
        assert value.isfinite() and torch.autograd.grad(value, large_B)[0].isfinite().all()


def test_the_penalty_of_a_product_of_sines_is_its_closed_form():
    """D(x) = sum sin(x): the gradient is cos(x), its squared length a sum of cos^2, a mean over 4 frames."""
    video_BCTHW = torch.randn(3, 3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    norms_B = gradient_norms(video_BCTHW.sin().sum((1, 2, 3, 4)), video_BCTHW)
    expected_B = video_BCTHW.cos().square().sum((1, 2, 3, 4)) / 4
    torch.testing.assert_close(norms_B, expected_B, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(norms_B.sum(), video_BCTHW)
    torch.testing.assert_close(slope, -(2 * video_BCTHW).sin() / 4, rtol=1e-10, atol=1e-12)


def finite_differences(score, video_BCTHW: torch.Tensor, sigma: float, draws: int) -> torch.Tensor:
    """Mean over draws of the penalty from a clip nearby: [B]."""
    random = torch.Generator().manual_seed(5)
    noise = torch.randn(draws, *video_BCTHW.shape, dtype=torch.float64, generator=random)
    nearby_B = score((video_BCTHW + sigma * noise).flatten(0, 1)).unflatten(0, (draws, -1))
    return nearby_norms(score(video_BCTHW), nearby_B, sigma, video_BCTHW.shape[2]).mean(0)


def test_the_mean_of_finite_differences_is_the_exact_penalty():
    """Seaweed-APT, eq. 3: within four standard errors, of a relative variance of 2 for each draw."""
    torch.manual_seed(0)
    score = nn.Sequential(nn.Flatten(), nn.Linear(24, 7), nn.Softplus(), nn.Linear(7, 1), nn.Flatten(0)).double()
    video_BCTHW = torch.randn(3, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    exact_B = gradient_norms(score(video_BCTHW), video_BCTHW).detach()
    found_B = finite_differences(score, video_BCTHW.detach(), 1e-3, 20_000).detach()
    torch.testing.assert_close(found_B, exact_B, rtol=4 * (2 / 20_000) ** 0.5, atol=0)


def test_finite_differences_are_off_by_a_square_of_sigma():
    """D(x) = |x|^2 / 2 in n dimensions: the mean is |x|^2 + sigma^2 (n^2 + 2 n) / 4, by the moments of a chi-square."""
    video_BCTHW = torch.ones(1, 3, 1, 2, 2, dtype=torch.float64)
    for sigma in (0.2, 0.4):
        found_B = finite_differences(lambda x: x.square().sum((1, 2, 3, 4)) / 2, video_BCTHW, sigma, 40_000)
        expected = 12 + sigma**2 * (12**2 + 2 * 12) / 4
        assert math.isclose(found_B.item(), expected, rel_tol=0.05)


def test_one_backward_gives_each_clip_its_own_gradient():
    torch.manual_seed(1)
    score = nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
    video_BCTHW = torch.randn(3, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    together = gradient_of(score(video_BCTHW), video_BCTHW, differentiable=False)
    for index in range(3):
        one = video_BCTHW[index : index + 1].detach().requires_grad_()
        torch.testing.assert_close(together[index], torch.autograd.grad(score(one).sum(), one)[0][0])
