import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import toy_ranks
from shapes_dataset import write_dataset

from vgan.config import TrainConfig
from vgan.data.loading.loader import ClipSet, batch_indices
from vgan.data.manifest import load_dataset
from vgan.errors import ConfigError, ResumableError
from vgan.storage import write_atomic
from vgan.training.distributed import World
from vgan.training.loop import train_run
from vgan.training.plan import RunBudget, prepare
from vgan.training.process import train
from vgan.training.ranks import Ranks, count_gpus, count_processes
from vgan.training.source import ClipSource
from vgan.workspace import RunFolder, Workspace

CLIPS, BATCH, STEPS = 23, 6, 12  # 23 clips: a multiple of nothing
CONFIG = TrainConfig(budget=f"{STEPS * BATCH / 1000}kclips", batch=BATCH, threads=1, device="cpu", checkpoints=4)
FIRST = 1e-5  # relative: what the order of additions makes of the figures of the first step, in float32
SMOOTH = 1e-4  # of a dozen steps of smooth networks
# Later steps of real networks part: a full step of Adam, which has no first moment here, follows the sign of a gradient
# however small it is, and so of its rounding.


def planned(folder: Path, config: TrainConfig) -> tuple[Workspace, RunFolder]:
    """A workspace with a planned run in float32: bfloat16 would round the parts of a sum before it is whole."""
    workspace = Workspace.open(folder)
    write_dataset(workspace, clips=CLIPS)
    run = workspace.run(prepare(workspace, load_dataset(workspace, "shapes"), config))
    steps = round(float(config.budget.removesuffix("kclips")) * 1000 / BATCH)
    plan = RunBudget(run=run.path.name, steps=steps, clips=steps * BATCH, bf16=False, clips_per_second=None)
    write_atomic(run.plan, plan.to_json())
    return workspace, run


def metrics(folder: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def assert_close(lines: list[dict[str, float]], others: list[dict[str, float]], tolerance: float) -> None:
    assert [line.keys() for line in lines] == [line.keys() for line in others]
    for line, other in zip(lines, others, strict=True):
        for name, value in line.items():
            assert math.isclose(value, other[name], rel_tol=tolerance, abs_tol=tolerance / 10), (line, name)


@pytest.mark.e2e
def test_two_processes_give_the_losses_of_one_with_the_whole_batch(tmp_path):
    def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
        script = Path(toy_ranks.__file__)
        return subprocess.Popen([sys.executable, script, tmp_path / "rank"], env={**os.environ, **environment})

    assert Ranks(2, start).wait(200) == 0
    (lines, digest), (of_second, of_its_weights) = (
        json.loads((tmp_path / f"rank{rank}").read_text()) for rank in range(2)
    )
    assert lines == of_second and digest == of_its_weights  # and so are averages and the augmentation's probability
    expected, _ = toy_ranks.toy_training()
    for choice, of_choice in zip(lines, expected, strict=True):
        assert_close(choice, of_choice, SMOOTH)
    assert any(line["augment_probability"] > 0 for line in expected[0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run of one process, in this process."""
    workspace, folder = planned(tmp_path_factory.mktemp("alone"), CONFIG)
    threads = torch.get_num_threads()
    train_run(workspace, folder.path.name, lambda: False)
    torch.set_num_threads(threads)
    return folder


@pytest.mark.e2e
def test_two_processes_train_a_run_as_one_does(tmp_path, alone):
    """Also: a number of clips that no process count divides never makes a rank wait for another."""
    workspace, folder = planned(tmp_path, CONFIG)
    record, _ = train(workspace, "shapes", CONFIG.model_copy(update={"processes": 2}))
    assert record.run == folder.path.name == alone.path.name
    assert (record.steps, record.clips) == (STEPS, STEPS * BATCH)
    assert_close(metrics(folder)[:1], metrics(alone)[:1], FIRST)
    assert len(metrics(folder)) == len(metrics(alone)) == STEPS
    assert len(list(folder.checkpoints.glob("*.json"))) == len(list(alone.checkpoints.glob("*.json")))


def test_the_parts_of_a_batch_are_the_batch(workspace):
    clips = ClipSet(workspace.dataset("shapes"), load_dataset(workspace, "shapes"), "train", check=False)
    cpu = torch.device("cpu")
    sources = [
        ClipSource(clips, cpu, batch=6, seed=3, classes=True, part=World(rank, 3).part(6), sharing=3)
        for rank in range(3)
    ]
    whole = torch.from_numpy(clips.read(batch_indices(len(clips), 6, 3, 5)))
    assert torch.equal(torch.cat([source.at(5)[0] for source in sources]), whole)


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(workspace):
    config = CONFIG.model_copy(update={"processes": 4})
    with pytest.raises(ConfigError, match=r"batch of 6 clips does not divide among 4.*--batch 8"):
        train(workspace, "shapes", config)
    with pytest.raises(ConfigError, match="does not divide"):
        World(0, 4).part(6)


def test_processes_not_asked_for_are_one_for_each_gpu_as_far_as_the_batch_divides(monkeypatch):
    for visible, gpus in (("0,1,2,3", 4), ("", 0), ("-1", 0), ("GPU-5f", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert count_gpus() == gpus
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert count_processes(None, "auto", 8) == 4
    assert count_processes(None, "cuda", 6) == 3
    assert count_processes(None, "cpu", 8) == 1
    assert count_processes(2, "cpu", 8) == 2


@pytest.mark.parametrize(
    ("codes", "cause"), [([0, 0], 0), ([75, 74], 74), ([-9, 75], -9), ([1, -9], -9), ([75, 75], 75), ([0, 75], 75)]
)
def test_the_exit_code_of_several_is_the_cause(codes, cause):
    def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
        code = codes[int(environment["RANK"])]
        word = f"kill -9 $$; exit {code}" if code < 0 else f"exit {code}"
        return subprocess.Popen(["sh", "-c", word])

    assert Ranks(2, start).wait(10) == cause


def children(parent: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(parent).children() if "vgan.training" in child.cmdline()]


LONG = CONFIG.model_copy(update={"budget": "60kclips", "processes": 2, "checkpoints": 1000})
SUPERVISE = """
import sys
from vgan.config import TrainConfig
from vgan.errors import VganError
from vgan.training.process import train
from vgan.workspace import Workspace
try:
    train(Workspace.open(sys.argv[1]), "shapes", TrainConfig.model_validate_json(sys.argv[2]))
except VganError as error:
    sys.exit(print(error, file=sys.stderr) or error.exit_code)
"""


def supervise(workspace: Workspace, folder: RunFolder, step: int) -> subprocess.Popen[bytes]:
    """A supervisor with two ranks that have come to `step`."""
    command = [sys.executable, "-c", SUPERVISE, str(workspace.root), LONG.model_dump_json()]
    supervisor = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not any((folder.checkpoints / f"{saved:08d}.json").exists() for saved in range(step, step + 2000)):
        assert supervisor.poll() is None and time.monotonic() < deadline, folder.log.read_text()
        time.sleep(0.05)
    return supervisor


def last_checkpoint(folder: RunFolder) -> int:
    return int(max(folder.checkpoints.glob("*.json")).stem)


@pytest.mark.e2e
def test_sigterm_stops_all_processes_at_one_step_with_one_checkpoint_and_75_and_one_process_resumes(tmp_path):
    """FAULTS 9: also with several processes, and the rest may be trained by another number of them."""
    workspace, folder = planned(tmp_path, LONG)
    supervisor = supervise(workspace, folder, 10)
    ranks = children(supervisor.pid)
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGTERM)  # it reaches one of them alone
    said = supervisor.communicate()[1].decode()
    assert supervisor.returncode == 75, said
    saved = last_checkpoint(folder)
    stopped = {line for line in folder.log.read_text().splitlines() if line.startswith("error: ")}
    assert stopped == {f"error: stopped at step {saved} of 10000."}
    assert not any(rank.is_running() for rank in ranks)
    asked = iter([False, False, False, True])
    with pytest.raises(ResumableError, match=f"stopped at step {saved + 4} "):
        train_run(workspace, folder.path.name, lambda: next(asked))
    assert last_checkpoint(folder) == saved + 4


@pytest.mark.e2e
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_with_75_and_leaves_no_process(tmp_path, rank):
    """FAULTS 11: also with several processes."""
    workspace, folder = planned(tmp_path, LONG)
    supervisor = supervise(workspace, folder, 10)
    ranks = children(supervisor.pid)
    by_rank = {int(process.environ()["RANK"]): process for process in ranks}
    by_rank[rank].kill()
    said = supervisor.communicate()[1].decode()
    assert supervisor.returncode == 75, said
    assert "killed by signal 9" in said
    assert not any(process.is_running() for process in ranks)
    assert last_checkpoint(folder) >= 10


@pytest.mark.e2e
def test_no_rank_outlives_its_supervisor(tmp_path):
    workspace, folder = planned(tmp_path, LONG)
    supervisor = supervise(workspace, folder, 10)
    ranks = children(supervisor.pid)
    supervisor.kill()
    supervisor.communicate()
    gone, alive = psutil.wait_procs(ranks, timeout=10)
    assert len(gone) == 2 and not alive


@pytest.mark.e2e
def test_a_time_budget_is_decided_once_for_all_processes(tmp_path):
    workspace = Workspace.open(tmp_path)
    write_dataset(workspace, clips=CLIPS)
    config = CONFIG.model_copy(update={"budget": "4s", "processes": 2})
    record, _ = train(workspace, "shapes", config)
    folder = workspace.run(record.run)
    plan = json.loads(folder.plan.read_bytes())
    assert plan["steps"] == record.steps == metrics(folder)[-1]["step"]
    assert plan["clips_per_second"] > 0


@pytest.mark.e2e
def test_torchrun_starts_the_ranks_too(tmp_path, alone):
    workspace, folder = planned(tmp_path, CONFIG)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "vgan.training"]
    arguments = ["--workspace", str(workspace.root), "--run", folder.path.name]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command, *arguments], check=False, capture_output=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    assert folder.record.exists()
    assert_close(metrics(folder)[:1], metrics(alone)[:1], FIRST)
