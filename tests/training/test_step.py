import copy

import pytest
import torch
from made_generator import generator_record

from vgan.errors import DivergedError
from vgan.models.families import build_discriminator, build_generator
from vgan.models.network import ClipShape, r3_network
from vgan.training.distributed import ALONE, World
from vgan.training.ema import update_average
from vgan.training.recipe import recipe_for
from vgan.training.step import TrainState, drawn_moments, step_seed, to_unit, train_step

SHAPE = ClipShape(frames=4, height=16, width=16, labels=2)
RECIPE = recipe_for("tiny", 4)


def fresh_state() -> TrainState:
    torch.manual_seed(0)
    network = r3_network("tiny", SHAPE)
    discriminator = build_discriminator("r3", network.discriminator.model_dump(mode="json"), SHAPE)
    return TrainState.start(build_generator(generator_record(SHAPE)), discriminator, RECIPE)


def real_batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    video_BCTHW = torch.randint(0, 256, (4, 3, 4, 16, 16), dtype=torch.uint8, generator=random)
    return video_BCTHW, torch.tensor([0, 1, 0, 1])


def take_step(state: TrainState, *, seed: int = 0, bf16: bool = False) -> dict[str, float]:
    return train_step(state, RECIPE, *real_batch(), seed=seed, budget=4000, bf16=bf16)


def everything(state: TrainState) -> list[torch.Tensor]:
    tensors = [*state.generator.parameters(), *state.discriminator.parameters(), *state.average.parameters()]
    for adam in (state.adam_generator, state.adam_discriminator):
        tensors += [value for moments in adam.state.values() for value in moments.values()]
    return [tensor.detach().clone() for tensor in tensors]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_changes_both_networks_and_the_average(bf16):
    state = fresh_state()
    before = copy.deepcopy(state)
    figures = take_step(state, bf16=bf16)
    assert state.steps == 1
    for name in ("generator", "discriminator", "average"):
        old, new = getattr(before, name).state_dict(), getattr(state, name).state_dict()
        assert any(not torch.equal(old[key], new[key]) for key in old), name
    assert set(figures) >= {"loss_g", "loss_d", "r1", "r2", "gap", "grad_g", "grad_d", "lr", "gamma"}


def test_a_step_is_a_function_of_state_data_and_seed():
    one, same, other = fresh_state(), fresh_state(), fresh_state()
    take_step(one), take_step(same), take_step(other, seed=1)
    assert equal(everything(one), everything(same))
    assert not equal(everything(one), everything(other))


def test_each_step_looks_at_other_frames_of_each_clip_and_every_rank_at_its_part_of_them():
    state = fresh_state()
    drawn = []
    for step in range(40):
        state.steps = step
        moments_BF = drawn_moments(state, 4, 0, torch.device("cpu"))
        assert moments_BF.shape == (4, 2) and (moments_BF[:, 0] != moments_BF[:, 1]).all()
        state.world = World(rank=1, size=2)
        assert torch.equal(drawn_moments(state, 2, 0, torch.device("cpu")), moments_BF[2:])
        state.world = ALONE
        drawn.append(moments_BF)
    counts = torch.bincount(torch.stack(drawn).flatten(), minlength=4)
    assert counts.sum() == 320 and (counts - 80).abs().max() < 30


def test_weights_stay_float32_when_the_bodies_run_in_bfloat16():
    state = fresh_state()
    take_step(state, bf16=True)
    assert {tensor.dtype for tensor in everything(state)} == {torch.float32}


def test_ten_steps_on_one_batch_teach_the_discriminator_to_tell_real_from_generated():
    state = fresh_state()
    gaps = [take_step(state)["gap"] for _ in range(30)]
    assert sum(gaps[-5:]) > sum(gaps[:5])


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(part):
    state = fresh_state()
    take_step(state)
    with torch.no_grad():
        next(getattr(state, part).parameters()).fill_(float("nan"))
    before = everything(state)
    with pytest.raises(DivergedError, match=r"not|is nan at step 2"):
        take_step(state)
    assert state.steps == 1
    after = everything(state)
    assert all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(before, after, strict=True))


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer():
    state = fresh_state()
    handle = next(state.discriminator.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    before = everything(state)
    with pytest.raises(DivergedError, match="gradient of the discriminator"):
        take_step(state)
    handle.remove()
    assert equal(before, everything(state))


def test_seeds_of_steps_and_uses_differ():
    seeds = {step_seed(seed, step, use) for seed in range(4) for step in range(50) for use in ("latent", "weights")}
    assert len(seeds) == 4 * 50 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_pixels_become_minus_one_to_one():
    unit = to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    assert unit.tolist() == [-1.0, 1.0]


def test_the_average_moves_by_the_share_that_its_decay_leaves():
    average, model = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    start = average.weight.detach().clone()
    update_average(average, model, 0.75)
    torch.testing.assert_close(average.weight, 0.75 * start + 0.25 * model.weight)
