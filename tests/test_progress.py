"""Speed and time left, as a person is told."""

import pytest

from vgan.progress import PACE_SECONDS, Pace, counted, duration


def told(*moments: tuple[float, float], total: float = 10_000) -> Pace:
    pace = Pace()
    for at, done in moments:
        pace.tell(at, done, total)
    return pace


def test_one_is_singular_and_every_other_number_plural() -> None:
    said = [counted(number, "step") for number in (0, 1, 2, 1001)]
    assert said == ["0 steps", "1 step", "2 steps", "1,001 steps"]
    assert [counted(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]


def test_what_an_earlier_attempt_did_counts_for_nothing() -> None:
    """A run that resumes at 9,000 of 10,000 and does 10 a second takes 90 seconds more."""
    pace = told((0.0, 9000.0), (2.0, 9020.0), (10.0, 9100.0))
    assert pace.speed == 10.0
    assert pace.seconds_left == 90.0


def test_nothing_is_said_before_anything_is_known() -> None:
    assert told().speed is told((0.0, 5.0)).speed is told((0.0, 5.0)).seconds_left is None
    assert told((0.0, 5.0), (0.0, 9.0)).speed is None
    assert told((0.0, 5.0), (9.0, 5.0)).seconds_left is None


def test_the_speed_is_that_of_the_last_half_a_minute() -> None:
    slow = [(float(second), float(second)) for second in range(101)]
    fast = [(100.0 + second, 100.0 + 50 * second) for second in range(1, int(PACE_SECONDS) + 1)]
    assert told(*slow).speed == pytest.approx(1.0)
    assert told(*slow, *fast).speed == pytest.approx(50.0)
    assert 1 < (told(*slow, *fast[:5]).speed or 0) < 50


def test_steps_longer_than_half_a_minute_have_a_speed_too() -> None:
    assert told((0.0, 0.0), (100.0, 4.0), (200.0, 8.0)).speed == pytest.approx(0.04)


def test_another_piece_of_work_begins_anew() -> None:
    assert told((0.0, 0.0), (1.0, 900.0), (2.0, 0.0), (4.0, 6.0)).speed == 3.0
    pace = told((0.0, 0.0), (1.0, 3.0), total=3)  # three shards read; then a run that resumes
    pace.tell(2.0, 5000, 10_000)
    assert pace.speed is None
    pace.tell(3.0, 5050, 10_000)
    assert (pace.speed, pace.seconds_left) == (50, 99)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min"), (65, "1 min 5 s"), (3600, "1 h"), (12_034, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_a_time_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said
