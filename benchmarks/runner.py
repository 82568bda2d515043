"""Shared by `fusion.py` and `ablation.py`: simulated scenes, trainings that are kept when finished, and tables.

Scenes: training seed 1001, test seed 2002 (used for nothing else: no part of the design was tuned on them).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.simulate.dataset import SIMULATOR_VERSION

TRAIN_SEED, TEST_SEED = 1001, 2002
SENSORS = ("event", "thermal", "depth", "polarization", "light_field")


@dataclass(frozen=True)
class Variant:
    """A recipe that differs from the full model in `settings` (keys as for `armseg train --set`)."""

    name: str
    modalities: tuple[str, ...] = SENSORS
    settings: dict[str, Any] = field(default_factory=dict)


def parser(doc: str | None, steps: int, controls: bool) -> argparse.ArgumentParser:
    """The options both benchmarks share. controls: also measure the sensor alone and another scene's sensor."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--work", type=Path, default=Path("benchmarks/cache"), help="scenes and finished runs are kept here"
    )
    p.add_argument("--seeds", default="0,1,2")
    p.add_argument("--steps", type=int, default=steps, help="optimizer steps of every training")
    p.add_argument("--scenes", type=int, default=400, help="training scenes")
    p.add_argument("--test-scenes", type=int, default=120)
    p.add_argument("--train-seed", type=int, default=TRAIN_SEED, help="seed of the training scenes")
    p.add_argument("--test-seed", type=int, default=TEST_SEED, help="seed of the test scenes")
    p.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    p.add_argument("--threads", type=int, default=1, help="CPU threads of each")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="bf16")
    p.add_argument("--one", help=argparse.SUPPRESS)
    p.set_defaults(controls=controls)
    return p


def scenes(args: argparse.Namespace) -> tuple[Path, Path]:
    """The training and test folders, simulated once for each version of the simulator."""
    from armseg_core.simulate import simulate

    folders = (
        args.work / f"train-v{SIMULATOR_VERSION}-{args.train_seed}-{args.scenes}",
        args.work / f"test-v{SIMULATOR_VERSION}-{args.test_seed}-{args.test_scenes}",
    )
    jobs = (
        (folders[0], args.scenes, args.train_seed, (0.95, 0.05, 0.0)),
        (folders[1], args.test_scenes, args.test_seed, (0.0, 0.0, 1.0)),
    )
    for folder, count, seed, splits in jobs:
        if not (folder / "dataset.toml").exists():
            simulate(folder, count, seed, (128, 160), workers=args.jobs * args.threads, splits=splits)
    return folders


def run_one(args: argparse.Namespace, variant: Variant, seed: int) -> None:
    """Train and test one variant; writes its result file. A training that was cut off goes on where it was."""
    from armseg_core.config.training import TrainConfig
    from armseg_core.learning.evaluation import evaluate
    from armseg_core.learning.run_folder import RunFolder
    from armseg_core.learning.training import train

    train_folder, test_folder = scenes(args)
    name = run_name(args, variant, seed)
    values: dict[str, Any] = {
        "data": (train_folder,),
        "modalities": variant.modalities,
        "steps": args.steps,
        "seed": seed,
        "name": name,
        "out": args.work / "runs",
        "precision": args.precision,
        "device": args.device,
        "threads": args.threads,
        "cache_dir": args.work / "tensors",
        "eval_every": args.steps,
        "crop": (96, 128),
        "save_every": 100,
    }
    for key, value in variant.settings.items():
        group, _, option = key.rpartition(".")
        target = values.setdefault(group, {}) if group else values
        target[option] = value
    config = TrainConfig.parse(values)
    started = time.monotonic()
    unfinished = RunFolder.resumable(config.out, f"{name}-*")
    run = RunFolder(train(config, resume=unfinished[-1].folder if unfinished else None, progress=False))
    minutes = (time.monotonic() - started) / 60
    report = evaluate(
        run.last,
        [test_folder],
        "test",
        controls=args.controls,
        device=args.device,
        precision="fp32",
        cache_dir=args.work / "tensors",
        progress=False,
    )
    rows = {
        r.inputs.title: {
            "miou": r.matrix.miou,
            "iou": [None if np.isnan(v) else float(v) for v in r.matrix.iou],
        }
        for r in report.rows
    }
    result = {
        "variant": variant.name,
        "seed": seed,
        "steps": args.steps,
        "minutes": round(minutes, 2),
        "resumed": bool(unfinished),
        "rows": rows,
        "classes": list(next(iter(report.class_names.values()))),
    }
    path = result_path(args, variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def run_name(args: argparse.Namespace, variant: Variant, seed: int) -> str:
    """A name for all that decides a training, so that a kept one is never taken for another."""
    scenes_of = f"v{SIMULATOR_VERSION}-{args.train_seed}-{args.scenes}"
    return f"{variant.name.replace(' ', '_')}-{scenes_of}-{args.steps}-{args.precision}-s{seed}"


def result_path(args: argparse.Namespace, variant: Variant, seed: int) -> Path:
    return (
        args.work / "results" / f"{run_name(args, variant, seed)}-t{args.test_seed}-{args.test_scenes}.json"
    )


def run_all(args: argparse.Namespace, variants: list[Variant], script: str) -> list[dict[str, Any]]:
    """Every variant and seed, finished ones from their files; `args.jobs` subprocesses at a time."""
    if args.one:
        name, seed = args.one.split("@")
        run_one(args, next(v for v in variants if v.name == name), int(seed))
        sys.exit(0)
    scenes(args)
    seeds = [int(s) for s in args.seeds.split(",")]
    todo = [(v, s) for s in seeds for v in variants if not result_path(args, v, s).exists()]
    running: list[tuple[subprocess.Popen, str]] = []
    failed = []
    while todo or running:
        while todo and len(running) < args.jobs:
            variant, seed = todo.pop(0)
            name = f"{variant.name}@{seed}"
            print(f"training {name} ({len(todo)} more after it)", file=sys.stderr, flush=True)
            running.append((subprocess.Popen([sys.executable, script, *sys.argv[1:], "--one", name]), name))
        time.sleep(1)
        for process, name in running:
            if process.poll():
                failed.append(name)
        running = [(p, n) for p, n in running if p.poll() is None]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; run the same command again to go on")
    return [json.loads(result_path(args, v, s).read_text()) for s in seeds for v in variants]


def mean_std(values: list[float]) -> str:
    """'43.2 +- 1.1' in percent points."""
    return f"{100 * np.mean(values):5.1f} ± {100 * np.std(values):.1f}"


def header(args: argparse.Namespace) -> str:
    """Where and how the figures were made."""
    import torch

    device = (
        torch.cuda.get_device_name()
        if args.device != "cpu" and torch.cuda.is_available()
        else f"{platform.processor() or platform.machine()}, CPU"
    )
    return (
        f"simulator version {SIMULATOR_VERSION}, {args.scenes} training scenes (seed {args.train_seed}), {args.test_scenes} test scenes (seed {args.test_seed}), 160x128, "
        f"{args.steps} steps of 8 crops 128x96, seeds {args.seeds}, {args.jobs} at a time with {args.threads} threads, "
        f"{args.precision}, {device}, torch {torch.__version__}"
    )
