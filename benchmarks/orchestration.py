"""What the flows cost: the same chain through Prefect and MLflow beside the plain calls of the library.

    python benchmarks/orchestration.py                                   # 60 kclips: about ten minutes on two cores
    python benchmarks/orchestration.py --budget 6kclips --threads 1 --batches 40

Videos are drawn; `vgan up` starts real servers and workers in a folder of their own, and both sides register with the
same MLflow server. Three tables:

* the whole chain, ingest to registration, of one training of so many clips. "plain" is one process that calls the four
  functions of the library in turn; "served" is a run of the deployment `retrain/nightly`, created on the server, taken
  by a worker, waited for. Overhead is all that "served" takes more: the worker's poll, the start of its process, tasks,
  artifacts, heartbeats, metrics to MLflow while training, and the servers' own work on the same cores.
* the same again, with everything there already; `vgan run` without a server starts Prefect's temporary one.
* what a batch costs, when each video is a batch of its own, less the plain ingest of the same batches.

Seconds of the clock. Nothing else should run on the machine; sides take turns, and each round begins with the other.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgan.data.shapes import write_videos

POLL_SECONDS = 1.0
BUSY = 503  # the server, whose SQLite somebody else writes
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BIN = Path(sys.executable).parent
INGEST = {"frames": 8, "height": 32, "width": 32, "fps": 8.0, "labels": "folder"}
EVERY_VIDEO = {**INGEST, "videos_per_batch": 1}

# The whole product without Prefect: standard input is JSON, standard output the seconds of each stage.
PLAIN = """
import json, sys, time
asked = json.load(sys.stdin)
from vgan.config import EvaluateConfig, IngestConfig, RegisterConfig, TrainConfig
from vgan.data.ingest import ingest
from vgan.workspace import Workspace
workspace, marks = Workspace.open(asked["workspace"]), [time.monotonic()]
ingest(workspace, asked["videos"], asked["name"], IngestConfig(**asked["ingest_config"]))
marks.append(time.monotonic())
if "train_config" in asked:
    from tasks.registration import register
    from vgan.evaluation.evaluate import evaluate
    from vgan.training.process import train
    trained, _ = train(workspace, asked["name"], TrainConfig(**asked["train_config"]))
    marks.append(time.monotonic())
    evaluate(workspace, trained.run, EvaluateConfig())
    marks.append(time.monotonic())
    register(workspace, trained.run, RegisterConfig())
    marks.append(time.monotonic())
print(json.dumps([after - before for before, after in zip(marks, marks[1:])]))
"""


@dataclass(frozen=True)
class Servers:
    """What `vgan up` has started."""

    env: dict[str, str]
    api: str

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        while True:
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != BUSY:
                    raise
                time.sleep(POLL_SECONDS)

    def run(self, deployment: str, parameters: dict[str, Any]) -> tuple[float, float]:
        """(seconds from the request to the end, of which before the flow began)."""
        wanted = self.ask(f"/deployments/name/{deployment}")["id"]
        once = {"idempotency_key": str(uuid.uuid4())}  # one run, however often a busy server is asked
        began = time.monotonic()
        run = self.ask(f"/deployments/{wanted}/create_flow_run", {"parameters": parameters, **once})["id"]
        while (found := self.ask(f"/flow_runs/{run}"))["state_type"] not in ENDED:
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        if found["state_type"] != "COMPLETED":
            raise SystemExit(f"{deployment} ended as {found['state']['name']}: {found['state']['message']}")
        return seconds, max(0.0, seconds - found["total_run_time"])


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="vgan-benchmark-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        write_videos(folder / "videos", num=options.videos)
        write_videos(folder / "few", num=options.batches, seed=1)
        with servers(folder) as up:
            sides = Sides(folder, up, options.threads)
            show_chain(sides, options.budget, options.rounds)
            if not options.chain_only:
                show_cached(sides, options.budget, options.rounds)
                show_batches(sides, options.batches, options.rounds)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="60kclips", help="of the training, in clips: both sides do the same")
    parser.add_argument("--threads", type=int, help="CPU threads of the training; all cores unless given")
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--batches", type=int, default=100, help="videos of the ingest with a batch for each")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--chain-only", action="store_true", help="the first table alone")
    options = parser.parse_args()
    if not options.budget.endswith("clips"):
        parser.error("--budget is in clips: two trainings of so many seconds would not do the same")
    return options


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Real servers and workers, in a workspace below the folder."""
    left_out = ("PREFECT_", "MLFLOW_", "VGAN_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    env["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    env["VGAN_WORKSPACE"] = os.fspath(folder / "workspace")
    ports = ["--prefect-port", str(free_port()), "--mlflow-port", str(free_port())]
    try:
        told = json.loads(command([BIN / "vgan", "up", "--json", *ports], env))
        env |= {"PREFECT_API_URL": told["api"], "MLFLOW_TRACKING_URI": told["mlflow"]}
        yield Servers(env, told["api"])
    finally:
        with suppress(SystemExit):  # what it ends with after a failure should be that failure
            command([BIN / "vgan", "down", "--json"], env)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def command(words: list[str | Path], env: dict[str, str], told: str = "") -> str:
    """Standard output of a command; one that fails ends the benchmark, after its own words."""
    done = subprocess.run(words, check=False, env=env, input=told, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words[:2]))} ended with {done.returncode}.")
    return done.stdout


class Sides:
    """The chain by plain calls, by the deployment, and by the command; each name is a dataset of its own."""

    def __init__(self, folder: Path, up: Servers, threads: int | None) -> None:
        self.folder, self.up, self.threads = folder, up, threads

    def asked(self, name: str, budget: str | None, *, few: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "videos": os.fspath(self.folder / ("few" if few else "videos")),
            "name": name,
            "workspace": self.up.env["VGAN_WORKSPACE"],
        }
        if budget is None:
            return {**parameters, "config": EVERY_VIDEO}
        # Another seed for each name: the same training would be one run.
        seed = int.from_bytes(name.encode()[-6:], "big") % 100_000
        train = {"budget": budget, "threads": self.threads, "device": "cpu", "seed": seed}
        return {**parameters, "ingest_config": INGEST, "train_config": train}

    def plain(self, asked: dict[str, Any]) -> tuple[float, list[float]]:
        """(seconds of the process, of each stage)."""
        if "config" in asked:
            asked = {**asked, "ingest_config": asked["config"]}
        began = time.monotonic()
        stages = json.loads(command([sys.executable, "-c", PLAIN], self.up.env, json.dumps(asked)))
        return time.monotonic() - began, stages

    def embedded(self, asked: dict[str, Any]) -> float:
        """Seconds of the same by `vgan run`, which has no server of the user's."""
        env = {key: value for key, value in self.up.env.items() if key != "PREFECT_API_URL"}
        fields = {**asked["ingest_config"], **asked["train_config"]}
        flags = [(f"--{key.replace('_', '-')}", str(value)) for key, value in fields.items() if value is not None]
        began = time.monotonic()
        flat = [word for flag in flags for word in flag]
        command([BIN / "vgan", "run", "--videos", asked["videos"], "--name", asked["name"], *flat, "--json"], env)
        return time.monotonic() - began


def in_turn(rounds: int, first: Callable[[int], None], second: Callable[[int], None]) -> None:
    for number in range(rounds):
        for side in (first, second) if number % 2 == 0 else (second, first):
            side(number)


def show_chain(sides: Sides, budget: str, rounds: int) -> None:
    plain: list[tuple[float, list[float]]] = []
    served: list[tuple[float, float]] = []
    in_turn(
        rounds,
        lambda number: plain.append(sides.plain(sides.asked(f"plain-{number}", budget))),
        lambda number: served.append(sides.up.run("retrain/nightly", sides.asked(f"served-{number}", budget))),
    )
    print(f"| {budget} | plain s | ingest, train, evaluate, register | served s | of which until it began | more |")
    print("|---|---|---|---|---|---|")
    for number, ((seconds, stages), (whole, before)) in enumerate(zip(plain, served, strict=True)):
        parts = ", ".join(f"{stage:.1f}" for stage in stages)
        more = f"{whole - seconds:+.1f} s, {whole / seconds - 1:+.1%}"
        print(f"| round {number + 1} | {seconds:.1f} | {parts} | {whole:.1f} | {before:.1f} | {more} |", flush=True)


def show_cached(sides: Sides, budget: str, rounds: int) -> None:
    """Call all of it again: nothing is left to do."""
    plain, served, embedded = sides.asked("plain-0", budget), sides.asked("served-0", budget), []
    times: dict[str, list[float]] = {"plain": [], "served": [], "vgan run": embedded}
    for _ in range(max(3, rounds)):
        times["plain"].append(sides.plain(plain)[0])
        times["served"].append(sides.up.run("retrain/nightly", served)[0])
        embedded.append(sides.embedded(plain))
    began = time.monotonic()
    command([BIN / "vgan", "--version"], sides.up.env)
    print(f"\n| everything there already, medians of {max(3, rounds)} | s |\n|---|---|")
    for side, seconds in times.items():
        print(f"| {side} | {statistics.median(seconds):.1f} |")
    print(f"| `vgan --version`, for comparison | {time.monotonic() - began:.1f} |", flush=True)


def show_batches(sides: Sides, batches: int, rounds: int) -> None:
    plain: list[float] = []
    served: list[float] = []

    def by_flow(number: int) -> None:
        whole, before = sides.up.run("ingest/hourly", sides.asked(f"batches-served-{number}", None, few=True))
        served.append(whole - before)

    in_turn(
        rounds,
        lambda number: plain.append(sides.plain(sides.asked(f"batches-{number}", None, few=True))[1][0]),
        by_flow,
    )
    each = (statistics.median(served) - statistics.median(plain)) / batches
    print(f"\n| {batches} batches of one video | plain s | flow s | more a batch |\n|---|---|---|---|")
    print(f"| ingest | {statistics.median(plain):.1f} | {statistics.median(served):.1f} | {1000 * each:.0f} ms |")


if __name__ == "__main__":
    main()
