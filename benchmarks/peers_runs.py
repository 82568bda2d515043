"""Runs of the yardstick: train, measure, write the result; resumable, and shared by several processes.

A run that is cut off goes on from its checkpoint; the batch of a step depends on seed and step alone.
"""

from __future__ import annotations

import fcntl
import json
import math
import subprocess
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
from peers_models import HAS_OWN_RATES, MODELS, Peer, make
from torch import Tensor

from armseg_core.files.atomic import atomic_path
from armseg_core.files.json_text import to_json
from armseg_core.learning.metrics import ConfusionMatrix
from armseg_core.learning.training import rate_factor
from armseg_core.resizing import resize_image

# raised when data, batches, loss or metric change: figures of different numbers are not comparable
YARDSTICK = 1
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


def _record(bench: Bench, run: Run) -> Path:
    """The result of a run at a given rate, whether it is chosen or not."""
    return _checkpoint(bench, run).with_suffix(".json")


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
    record = _record(bench, run)
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
        peer, cpu = train(bench, run, data)
        trainable = sum(p.numel() for p in peer.parameters() if p.requires_grad)
        result |= {"cpu_seconds": round(cpu, 1), "trainable_parameters": trainable}
        result["val"] = measure(peer, data.val, data.task, bench.device)
        result["test"] = measure(peer, data.test, data.task, bench.device)
        if (
            run.lr is not None
        ):  # perhaps one of those that a rate is chosen from: kept until `execute` is through
            write(record, result)
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
        write(file, about | {"val_miou": miou, "lr": best, "yardstick": YARDSTICK})
    return float(json.loads(file.read_text())["lr"])


def execute(bench: Bench, run: Run) -> None:
    """Do a run and write its result file."""
    run = replace(run, lr=chosen_rate(bench, run.task, run.model))
    result = finished(bench, run)
    write(run.result, result)
    for lr in RATES:  # a run whose result file is deleted is to be done again
        _record(bench, replace(run, lr=lr)).unlink(missing_ok=True)
    if "test" in result:
        row = headline(result["test"])["miou"]
        print(f"{run.name}: {100 * row:.1f} mIoU, {result['cpu_seconds']:.0f} CPU s", flush=True)
    else:
        print(f"{run.name}: {result['cannot_train']}", flush=True)


def headline(rows: dict[str, Any]) -> dict[str, Any]:
    """The row of all inputs."""
    return dict(rows[max(rows, key=lambda name: name.count("+"))])


def write(file: Path, value: dict[str, Any]) -> None:
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
