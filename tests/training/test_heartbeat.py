"""What a bar is told of a training: the file that the training writes every two seconds, and how it is read."""

import json

import pytest

from vgan.training import heartbeat
from vgan.training.heartbeat import BEAT_SECONDS, Listener, Pulse
from vgan.training.plan import RunBudget

BUDGET = RunBudget(run="shapes-1", steps=1000, clips=8000, bf16=False, clips_per_second=None)
FIGURES = {"loss_d": 0.71, "loss_g": 0.64, "gap": 0.12, "r1": 3.0}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(heartbeat, "time", made)
    return made


@pytest.fixture
def folder(workspace):
    made = workspace.run("shapes-1")
    made.path.mkdir(parents=True)
    return made


def test_a_resumed_run_is_shown_at_the_speed_of_this_attempt_and_with_its_losses(folder, clock) -> None:
    told: list[tuple[float, float, str]] = []
    listener = Listener(folder, lambda done, total, note: told.append((done, total, note)))
    pulse = Pulse(folder)
    for step, figures in ((500, {}), (510, FIGURES), (530, FIGURES)):
        pulse.beat(step, figures)
        listener.look(BUDGET)
        listener.look(BUDGET)  # nothing new is told once
        clock.now += BEAT_SECONDS
    assert told == [
        (4000, 8000, "step 500/1,000"),
        (4080, 8000, "40.0 clips/s, loss D 0.710 G 0.640, gap 0.12, step 510/1,000"),
        (4240, 8000, "60.0 clips/s, loss D 0.710 G 0.640, gap 0.12, step 530/1,000"),
    ]


def test_news_of_the_beginning_is_shown_until_the_first_step_is_done(folder, clock) -> None:
    told: list[str] = []
    listener, pulse = Listener(folder, lambda done, total, note: told.append(note)), Pulse(folder)
    listener.begin()
    listener.say("compiling")
    for step, figures in ((0, {}), (1, FIGURES)):
        pulse.beat(step, figures)
        listener.look(BUDGET)
        clock.now += BEAT_SECONDS
    assert told == [
        "starting",
        "compiling",
        "compiling, step 0/1,000",
        "4.0 clips/s, loss D 0.710 G 0.640, gap 0.12, step 1/1,000",
    ]


def test_it_is_written_every_two_seconds_and_at_the_end_only(folder, clock) -> None:
    pulse = Pulse(folder)
    written = []
    for step in range(1, 101):
        clock.now += BEAT_SECONDS / 10
        pulse.beat(step, FIGURES, last=step == 100)
        written.append(json.loads(folder.progress.read_bytes())["step"])
    assert len(set(written)) == 11 and written[-1] == 100


def test_what_an_earlier_attempt_left_is_not_told(folder, clock) -> None:
    Pulse(folder).beat(900, FIGURES)
    told: list[tuple[float, float, str]] = []
    listener = Listener(folder, lambda done, total, note: told.append((done, total, note)))
    listener.begin()
    listener.look(BUDGET)
    assert told == [(0, 1, "starting")]


def test_a_heartbeat_that_cannot_be_read_or_written_disturbs_nobody(folder, clock) -> None:
    told: list[float] = []
    listener = Listener(folder, lambda done, total, note: told.append(done))
    folder.progress.write_text("{half")
    listener.look(BUDGET)
    folder.progress.unlink()
    folder.progress.mkdir()  # cannot be replaced by a file
    Pulse(folder).beat(3, FIGURES)
    listener.look(BUDGET)
    assert not told
    folder.progress.rmdir()
    Pulse(folder).beat(3, FIGURES | {"loss_g": float("nan")})
    listener.look(BUDGET)
    assert told == [24]
