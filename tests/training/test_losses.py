import math

import torch
from torch import nn

from vgan.training.losses import discriminator_loss, generator_loss, gradient_norms

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
