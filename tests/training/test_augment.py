import pytest
import torch
from toy_networks import toy_clips, toy_networks

from vgan.training.augment import CEILING, RISE, TARGET, Augmentation, Draws, augment
from vgan.training.recipe import recipe_for
from vgan.training.snapshot import named_tensors, restore
from vgan.training.step import TrainState, _augmented, train_step

RECIPE = recipe_for("tiny", 4)
CPU = torch.device("cpu")


def draws(num: int, seed: int = 0) -> Draws:
    return Draws.of(num, torch.Generator().manual_seed(seed))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def state_at(probability: float) -> TrainState:
    state = TrainState.start(*toy_networks(), RECIPE)
    state.augmentation.probability.fill_(probability)
    return state


def step(state: TrainState, adaptive: bool) -> dict[str, float]:
    clips = toy_clips(state.steps)
    return dict(train_step(state, RECIPE, *clips, seed=0, budget=40_000, bf16=False, adaptive=adaptive))


def test_all_frames_of_a_clip_are_treated_alike():
    still_BCTHW = noise(32, 3, 1, 16, 24).expand(-1, -1, 5, -1, -1)
    out_BCTHW = augment(still_BCTHW, 0.7, draws(32))
    assert torch.equal(out_BCTHW, out_BCTHW[:, :, :1].expand_as(out_BCTHW))
    assert not torch.equal(out_BCTHW, still_BCTHW)


def test_clips_of_one_batch_are_treated_differently():
    same_BCTHW = noise(1, 3, 2, 16, 16).expand(8, -1, -1, -1, -1)
    out_BCTHW = augment(same_BCTHW, 1.0, draws(8))
    assert len({clip.numpy().tobytes() for clip in out_BCTHW}) == 8


def test_nothing_changes_at_probability_zero():
    video_BCTHW = noise(16, 3, 4, 16, 16)
    assert torch.equal(augment(video_BCTHW, 0.0, draws(16)), video_BCTHW)


def test_a_clip_is_moved_by_whole_pixels_and_what_comes_in_is_grey():
    uniform_6B = torch.tensor([[0.0], [1.0], [0.0], [1.0], [0.5], [0.5]])  # shifted fully down and left, not covered
    video_BCTHW = noise(1, 3, 2, 16, 24)
    out_BCTHW = augment(video_BCTHW, 0.5, Draws(uniform_6B))
    assert torch.equal(out_BCTHW[..., 2:, :-3], video_BCTHW[..., :-2, 3:])
    assert not out_BCTHW[..., :2, :].any()
    assert not out_BCTHW[..., -3:].any()


def test_a_quarter_of_a_covered_clip_is_grey():
    uniform_6B = torch.tensor([[1.0], [0.0], [0.0], [0.0], [0.5], [0.5]])  # covered in the middle, not shifted
    video_BCTHW = noise(1, 3, 2, 16, 24)
    out_BCTHW = augment(video_BCTHW, 0.5, Draws(uniform_6B))
    assert not out_BCTHW[..., 4:12, 6:18].any()
    assert int((out_BCTHW != video_BCTHW).sum()) == 3 * 2 * 8 * 12


def test_gradients_pass_and_pass_again():
    video_BCTHW = noise(2, 1, 1, 8, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda video: augment(video, 0.9, draws(2)).square(), video_BCTHW)
    assert torch.autograd.gradgradcheck(lambda video: augment(video, 0.9, draws(2)).pow(3), video_BCTHW)


def test_real_and_generated_clips_are_augmented_by_the_same_distribution():
    state, num = state_at(0.5), 600
    ones_BCTHW = torch.ones(num, 1, 1, 16, 16)
    real_BCTHW, fake_BCTHW = _augmented(state, ones_BCTHW, ones_BCTHW, seed=0)
    shares = []
    for video_BCTHW in (real_BCTHW, fake_BCTHW):
        grey_B = 1 - video_BCTHW.mean((1, 2, 3, 4))
        shares.append((float((grey_B > 0).float().mean()), float(grey_B.mean())))
    (touched, grey), (touched_fake, grey_fake) = shares
    assert 0.65 < touched < 0.8  # 1 - .5 x .5, less those that are shifted by no pixel
    assert abs(touched - touched_fake) < 0.07 and abs(grey - grey_fake) < 0.02
    assert not torch.equal(real_BCTHW, fake_BCTHW)  # but each clip by a draw of its own


def test_draws_depend_on_seed_and_step_alone():
    state, video_BCTHW = state_at(0.5), noise(4, 3, 4, 16, 16)
    one = _augmented(state, video_BCTHW, video_BCTHW, seed=0)
    again = _augmented(state, video_BCTHW, video_BCTHW, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], _augmented(state, video_BCTHW, video_BCTHW, seed=1)[0])
    state.steps = 1
    assert not torch.equal(one[0], _augmented(state, video_BCTHW, video_BCTHW, seed=0)[0])


def test_a_step_at_probability_zero_equals_one_without_augmentation_in_every_bit():
    adaptive, plain = state_at(0.0), state_at(0.0)
    for _ in range(3):
        with_it, without = step(adaptive, True), step(plain, False)
        assert with_it.pop("augment_probability") == 0
        assert with_it == without
    ours, theirs = named_tensors(adaptive), named_tensors(plain)
    differing = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert differing == ["augmentation.sign"]


def test_a_step_with_augmentation_is_another_one():
    augmented, plain = step(state_at(0.8), True), step(state_at(0.8), False)
    assert augmented["loss_d"] != plain["loss_d"]


@pytest.mark.parametrize(("told_apart", "rises"), [(1.0, True), (0.5, False), ((TARGET + 1.05) / 2, True)])
def test_the_probability_follows_the_share_of_pairs_told_apart(told_apart, rises):
    augmentation, budget, batch = Augmentation.start(CPU), 400_000, 400
    augmentation.probability.fill_(0.4)
    for _ in range(300):
        augmentation.adapt(told_apart, batch, budget)
    assert (augmentation.probability > 0.4) == rises
    for _ in range(1000):
        augmentation.adapt(told_apart, batch, budget)
    assert float(augmentation.probability) == pytest.approx(CEILING if rises else 0.0)


def test_the_probability_rises_by_a_share_of_the_budget_whatever_the_batch():
    for batch in (4, 40):
        augmentation = Augmentation.start(CPU)
        augmentation.sign.fill_(1.0)
        for _ in range(48_000 // batch):
            augmentation.adapt(1.0, batch, 2_000_000)
        assert float(augmentation.probability) == pytest.approx(48_000 / (RISE * 2_000_000), rel=1e-3)


def test_in_a_short_run_hardly_anything_is_augmented():
    augmentation = Augmentation.start(CPU)
    for _ in range(600):
        augmentation.adapt(1.0, 8, 4800)
    assert 0 < float(augmentation.probability) < 0.05


def test_a_checkpoint_holds_the_probability():
    state, fresh = state_at(0.0), state_at(0.0)
    step(state, True), step(fresh, True)
    state.augmentation.probability.fill_(0.25), state.augmentation.sign.fill_(0.5)
    restore(fresh, {name: value.clone() for name, value in named_tensors(state).items()})
    assert (fresh.augmentation.probability.item(), fresh.augmentation.sign.item()) == (0.25, 0.5)
