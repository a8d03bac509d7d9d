import pytest

from vgan.training.recipe import Recipe, recipe_for

BUDGET = 16_000
RECIPE = Recipe(gamma_start=2.0, gamma_end=0.2, batch=16, warmup_clips=480, decay_from=0.5, gamma_halves=1000.0)


def test_step_sizes_rise_stay_and_fall():
    assert RECIPE.learning_rates(0, BUDGET)[0] == pytest.approx(RECIPE.lr_generator * 16 / 480)
    assert RECIPE.learning_rates(480, BUDGET)[0] == RECIPE.lr_generator
    assert RECIPE.learning_rates(BUDGET // 2, BUDGET)[1] == RECIPE.lr_discriminator
    assert RECIPE.learning_rates(BUDGET * 3 // 4, BUDGET)[1] == pytest.approx(RECIPE.lr_discriminator / 2)


def test_a_short_budget_still_reaches_the_peak():
    assert max(RECIPE.learning_rates(clips, 320)[0] for clips in range(0, 320, 16)) == RECIPE.lr_generator


def test_gamma_halves_with_the_clips_seen_until_it_is_what_it_is_in_the_end():
    assert RECIPE.gamma(0) == pytest.approx(2.0)
    assert RECIPE.gamma(500) == pytest.approx(2.0 * 0.5**0.5)
    assert RECIPE.gamma(2000) == pytest.approx(0.5)
    assert RECIPE.gamma(4000) == RECIPE.gamma(BUDGET) == 0.2


def test_the_average_forgets_half_in_its_half_life_and_sooner_at_the_beginning():
    late = RECIPE.ema_decay(10**9)
    assert late ** (RECIPE.ema_clips / RECIPE.batch) == pytest.approx(0.5)
    assert RECIPE.ema_decay(16) < RECIPE.ema_decay(1600) < late


def test_a_batch_that_is_asked_for_replaces_the_presets():
    assert recipe_for("tiny", 5).batch == 5
    assert recipe_for("base", None).batch > recipe_for("tiny", None).batch


def test_the_penalties_weigh_more_the_more_pixels_share_one_gradient():
    plain, finer = recipe_for("tiny", None), recipe_for("tiny", None, 16 * 64 * 64)
    assert finer.gamma(0) == pytest.approx(8 * plain.gamma(0))
    assert finer.gamma(10**6) == pytest.approx(8 * plain.gamma(10**6))
