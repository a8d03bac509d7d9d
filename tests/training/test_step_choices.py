"""What a step may be asked to do otherwise: penalties, order of updates, checks on the device, compiled networks."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_networks import toy_clips, toy_networks

from vgan.errors import DivergedError
from vgan.training.compiling import Passes, has_compiler, should_compile
from vgan.training.guard import CHECK_EVERY, Guard
from vgan.training.recipe import Recipe
from vgan.training.step import TrainState, train_step

RECIPE = Recipe(
    batch=4,
    warmup_clips=0,
    lr_generator=1e-3,
    gamma_start=16.0,
    gamma_end=1.6,
    gamma_halves=1204.0,
    updates="alternating",
)
CPU = torch.device("cpu")


def fresh(recipe: Recipe = RECIPE, *, deferred: bool = False) -> TrainState:
    state = TrainState.start(*toy_networks(), recipe)
    state.guard = Guard(CPU, deferred=deferred)
    return state


def step(state: TrainState, recipe: Recipe = RECIPE, *, adaptive: bool = False, bf16: bool = False):
    return train_step(state, recipe, *toy_clips(state.steps), seed=0, budget=4000, bf16=bf16, adaptive=adaptive)


def learned(state: TrainState) -> list[torch.Tensor]:
    """Weights and moments."""
    tensors = [*state.generator.parameters(), *state.discriminator.parameters()]
    for adam in (state.adam_generator, state.adam_discriminator):
        tensors += [value for moments in adam.state.values() for value in moments.values()]
    return [tensor.detach().clone() for tensor in tensors]


def equal(one: TrainState, other: TrainState) -> bool:
    pairs = zip([*learned(one), *one.average.parameters()], [*learned(other), *other.average.parameters()], strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class NoReading(TorchDispatchMode):
    """Refuses what would make the host wait for a device: reading a number, or a shape that depends on one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket not in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.equal,
        ), func
        return func(*args, **(kwargs or {}))


CHOICES = [
    {},
    {"updates": "simultaneous"},
    {"penalty": "finite"},
    {"penalty": "finite", "updates": "simultaneous"},
    {"penalty_every": 4, "updates": "simultaneous"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_step_that_defers_its_checks_reads_nothing_from_the_device(choice, monkeypatch):
    # On a CPU, and only there, one_hot looks at its labels.
    monkeypatch.setattr("toy_networks.Generator.one_hot", lambda self, label_B, like: torch.eye(3)[label_B])
    recipe = RECIPE.model_copy(update=choice)
    state = fresh(recipe, deferred=True)
    clips = [toy_clips(number) for number in range(5)]
    read = []
    with NoReading():
        for batch in clips:
            figures = train_step(state, recipe, *batch, seed=0, budget=4000, bf16=False, adaptive=True)
    with pytest.raises(AssertionError), NoReading():
        read.append(figures["loss_d"])
    assert figures["loss_d"] > 0 and not read


def test_checks_on_the_device_change_no_bit_of_a_sound_run():
    one, other = fresh(), fresh(deferred=True)
    for _ in range(5):
        assert dict(step(one)) == dict(step(other))
    assert equal(one, other)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_from_the_first_bad_figure_on_nothing_is_learned_and_it_is_told_when_it_is_read(part):
    """FAULTS 13: also where the check stays on the device."""
    state = fresh(deferred=True)
    step(state), step(state)
    weight = (state.generator.rgb if part == "generator" else state.discriminator.score).weight
    hook = weight.register_hook(lambda gradient: gradient * float("nan"))
    before = copy.deepcopy(state)
    step(state)
    hook.remove()  # the figures after it are sound again
    for _ in range(3):
        figures = step(state)
    same = state.generator if part == "generator" else state.discriminator
    untouched = before.generator if part == "generator" else before.discriminator
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), untouched.parameters(), strict=True))
    adam, other = (
        (state.adam_generator, before.adam_generator)
        if part == "generator"
        else (state.adam_discriminator, before.adam_discriminator)
    )
    for now, then in zip(adam.state.values(), other.state.values(), strict=True):
        assert all(torch.equal(now[key], then[key]) for key in then)
    for read in (state.guard.read, lambda: figures["gap"]):
        with pytest.raises(DivergedError, match=f"gradient of the {part} is nan at step 3"):
            read()


def test_a_bad_figure_is_told_after_a_few_steps_even_if_nobody_asks():
    state = fresh(deferred=True)
    with torch.no_grad():
        state.discriminator.score.bias.fill_(float("inf"))
    with pytest.raises(DivergedError, match="loss of the discriminator is nan at step 1"):
        for _ in range(CHECK_EVERY):
            step(state)
    assert state.steps == CHECK_EVERY


def test_simultaneous_updates_learn_from_the_discriminator_as_it_was():
    recipe = RECIPE.model_copy(update={"updates": "simultaneous", "clip_norm": 1e9})
    state = fresh(recipe)
    generator, discriminator = copy.deepcopy(state.generator), copy.deepcopy(state.discriminator)
    seen = []
    state.generator.rgb.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    figures = step(state, recipe)
    alternating = fresh()
    first = step(alternating)
    assert figures["loss_d"] == first["loss_d"] and figures["loss_g"] != first["loss_g"]
    pixels, label_B = toy_clips(0)
    from vgan.training.step import step_seed, to_unit

    z_BZ = torch.randn(4, 5, generator=torch.Generator().manual_seed(step_seed(0, 0, "latent")))
    drawn = torch.Generator().manual_seed(step_seed(0, 0, "moments"))
    moments_BF = torch.rand(4, 4, generator=drawn).argsort(1)[:, :2]
    gap_B = discriminator(generator(z_BZ, label_B), label_B, moments_BF) - discriminator(
        to_unit(pixels), label_B, moments_BF
    )
    torch.nn.functional.softplus(-gap_B).mean().backward()
    torch.testing.assert_close(seen[0], generator.rgb.weight.grad, rtol=1e-4, atol=1e-7)


def test_a_lazy_penalty_comes_every_k_steps_with_k_times_its_weight():
    recipe = RECIPE.model_copy(update={"penalty_every": 3, "clip_norm": 1e9})
    state = fresh(recipe)
    assert ["r1" in step(state, recipe) for _ in range(6)] == [False, False, True, False, False, True]
    always = recipe.model_copy(update={"penalty_every": 1, "gamma_start": 48.0, "gamma_end": 4.8})
    lazy, often = fresh(recipe), fresh(always)
    lazy.steps = often.steps = 2
    a, b = step(lazy, recipe), step(often, always)
    assert (a["r1"], a["r2"]) == (b["r1"], b["r2"])
    assert a["grad_d"] == pytest.approx(b["grad_d"], rel=1e-5)


def test_a_finite_penalty_is_near_the_exact_one():
    recipe = RECIPE.model_copy(update={"penalty": "finite", "penalty_sigma": 0.01})
    exact, finite = fresh(), fresh(recipe)
    pairs = []
    for _ in range(40):
        pairs.append((step(exact)["r1"], step(finite, recipe)["r1"]))
        finite.discriminator.load_state_dict(exact.discriminator.state_dict())
    exact_r1, finite_r1 = (sum(values) / 40 for values in zip(*pairs, strict=True))
    assert finite_r1 == pytest.approx(exact_r1, rel=4 * (2 / 160) ** 0.5)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_each_choice_is_a_function_of_state_data_and_seed(choice):
    recipe = RECIPE.model_copy(update=choice)
    one, other = fresh(recipe), fresh(recipe)
    for _ in range(3):
        assert dict(step(one, recipe, adaptive=True)) == dict(step(other, recipe, adaptive=True))
    assert equal(one, other)


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")  # torch warns of what itself does while it traces
@pytest.mark.parametrize("choice", CHOICES[:3], ids=str)
def test_traced_networks_train_as_plain_ones_do(choice):
    """Also with the exact penalty: torch.compile refuses two derivatives, unless one is inside of what it traces."""
    recipe = RECIPE.model_copy(update=choice)
    plain, traced = fresh(recipe), fresh(recipe)
    traced.passes = Passes(traced.generator, traced.discriminator, compiled=True, backend="aot_eager")
    for _ in range(3):
        expected = step(plain, recipe)
        assert dict(step(traced, recipe)) == pytest.approx(dict(expected), rel=1e-4, abs=1e-6)


def test_auto_compiles_on_a_gpu_alone():
    assert should_compile("auto", torch.device("cuda")) and not should_compile("auto", CPU)
    assert should_compile("on", torch.device("cuda")) and not should_compile("off", torch.device("cuda"))


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")  # torch warns of what itself does while it traces
def test_compiled_networks_train_as_plain_ones_do():
    if not has_compiler():
        pytest.skip("no C++ compiler")
    assert should_compile("on", CPU)
    plain = fresh()
    compiled = TrainState.start(*toy_networks(), RECIPE, compiled=True)
    for _ in range(3):
        expected = step(plain)
        assert dict(step(compiled)) == pytest.approx(dict(expected), rel=1e-3, abs=1e-5)
