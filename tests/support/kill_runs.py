"""Trainings and folder conversions that are ended by a signal at random moments, and what is then found.

`armseg` runs in forks of one process that has imported it already, so that a moment costs little more than
the work itself.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raw_files
import safetensors.torch
import torch
from places import REPOSITORY
from scene_folders import names, outputs, scenes
from small_models import SMALL, write_clip
from toy_scenes import write_scenes

from armseg_core.conversion.manifest import read_manifest
from armseg_core.learning.model_folder import load

SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}
NURSERY = """
import json, os, signal, sys
import armseg_cli.convert, armseg_cli.main, armseg_cli.train
import armseg_core.conversion.folder, armseg_core.learning.training
import torch
torch.set_num_threads(1)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        out = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(out, 1), os.dup2(out, 2)
        code = 1
        try:
            armseg_cli.main.app(job["arguments"], prog_name="armseg")
        except SystemExit as end:
            code = end.code or 0
        finally:
            import multiprocessing.util
            multiprocessing.util._exit_function()
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Nursery:
    """Forks that run `armseg`. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "output.txt"

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def run(self, *arguments: object, number: int = 0, after: Callable[[], None] | None = None) -> Ended:
        """Run a command; send it a signal when `after` returns, unless it has ended by then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.monotonic()
        job = {"arguments": [str(argument) for argument in arguments], "log": str(self._log)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if after is not None:
            after()
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(child, number)
        status = int(self._process.stdout.readline())
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, self._log.read_text(errors="replace"), child, time.monotonic() - began)


@dataclass(frozen=True)
class Ended:
    """A command that has ended. code: exit code, or minus the signal that killed it."""

    code: int
    said: str
    group: int
    seconds: float


@dataclass
class Found:
    """What was found after the moments of one kind."""

    moments: int = 0
    early: int = 0  # before anything was saved
    at_work: int = 0
    late: int = 0  # after the work was done
    problems: list[str] = field(default_factory=list)

    def expect(self, right: bool, problem: str) -> None:
        """Note a problem unless all is right."""
        if not right:
            self.problems.append(problem)


def no_process_left(group: int) -> bool:
    """Whether every process of a group ends in a while."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def hidden(folder: Path) -> list[str]:
    """Temporary files, scratch folders and locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


# -- training


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the whole files below a folder; raises for a file that is not whole."""
    files = [path for path in sorted(folder.rglob("*.safetensors")) if ".tmp" not in str(path)]
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in files
        for name, tensor in safetensors.torch.load_file(path).items()
    }


def result(run: Path) -> dict[str, Any]:
    """What a run is compared by: weights, and numbers without the speed."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with open(run / "metrics.csv", newline="") as file:
        table = [{k: v for k, v in row.items() if k != "images_per_s"} for row in csv.DictReader(file)]
    weights = {
        f"{name}/{k}": v.numpy().tobytes()
        for name in ("best", "last")
        for k, v in tensors(run / name).items()
    }
    numbers = [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]
    return {
        "weights": weights,
        "rows": numbers,
        "table": table,
        "confusion": (run / "metrics" / "confusion.json").read_text(),
    }


def broken(run: Path, before: set[str]) -> Iterator[str]:
    """What is half-written in a run folder, or missing that was there before."""
    for name in before - {path.name for path in run.iterdir()}:
        yield f"{name} is lost"
    for name in ("best", "last"):
        if (run / name).exists():
            try:
                load(run / name)
            except Exception as error:
                yield f"{name}: {error}"
    try:
        tensors(run)
        state = run / "resume" / "state.json"
        if state.exists():
            safetensors.torch.load_file(state.with_name(json.loads(state.read_text())["tensors"]))
    except Exception as error:
        yield f"a file is not whole: {error}"
    for name in ("metrics.jsonl", "metrics.csv", "log.txt"):
        if (run / name).exists() and not (run / name).read_text().endswith("\n"):
            yield f"{name} ends within a line"


def kill_trainings(folder: Path, number: int, moments: int, seed: int = 0, steps: int = 24) -> Found:
    """End trainings at random moments until there were so many, and let each go on to its end."""
    clip = write_clip(folder / "clip", layers=2)
    settings = {"warmup": 2, "save_every": 2, "eval_every": 3, "model.lora_dropout": 0.2}
    settings |= {f"model.{key}": value for key, value in SMALL.items()}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    options += [
        "--guide",
        clip["guide"],
        "--guide-weights",
        clip["guide_weights"],
        "--modalities",
        "depth",
        "--crop",
        "48x32",
    ]
    options += ["--batch-size", "2", "--steps", str(steps), "--quiet"]
    begin = ["train", write_scenes(folder / "data"), *options, "--output"]
    draw, found = random.Random(seed), Found()
    with Nursery(folder) as armseg:
        whole = armseg.run(*begin, folder / "whole")
        assert whole.code == 0, whole.said
        expected = result(folder / "whole" / "train-001")
        attempt = 0
        while found.moments < moments:
            attempt += 1
            run = folder / f"runs{attempt}" / "train-001"
            command: list[Any] = [*begin, run.parent]
            for _ in range(4):
                before = (
                    {path.name for path in run.iterdir() if path.name in ("best", "last", "resume")}
                    if run.exists()
                    else set()
                )
                delay = draw.uniform(0.02, 0.8 * whole.seconds)
                ended = armseg.run(*command, number=number, after=lambda delay=delay: time.sleep(delay))
                found.moments += 1
                found.expect(no_process_left(ended.group), "a process is left")
                if run.exists():
                    found.problems += broken(run, before)
                if number != signal.SIGKILL:
                    _check_clean_end(found, ended, run, number)
                saved = (run / "resume" / "state.json").exists()
                found.late += ended.code == 0
                found.early += not saved
                found.at_work += saved and ended.code != 0
                if not saved or ended.code == 0 or found.moments >= moments:
                    break
                command = ["train", "--resume", run, "--quiet"]
            if saved:
                last = armseg.run("train", "--resume", run, "--quiet")
                found.expect(last.code == 0, f"does not go on: {last.said}")
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    got = result(run)
                    for part, value in expected.items():
                        found.expect(got[part] == value, f"other {part} than undisturbed")
                found.expect(not hidden(run), f"left over: {hidden(run)}")
                states = len(list((run / "resume").iterdir()))
                found.expect(states == 2, f"{states} files in resume/")
    return found


def _check_clean_end(found: Found, ended: Ended, run: Path, number: int) -> None:
    """After SIGTERM or SIGHUP: state saved, code, message, nothing temporary."""
    if ended.code == -number:  # before the command began
        found.expect(not run.exists(), "killed without a clean end")
        return
    found.expect(ended.code in (0, 128 + number), f"exit code {ended.code}: {ended.said[-300:]}")
    found.expect("Traceback" not in ended.said, f"traceback: {ended.said[-300:]}")
    found.expect(not run.exists() or not hidden(run), "temporary files after a clean end")
    if "stopped after step" in ended.said:
        step = int(ended.said.rpartition("stopped after step ")[2].split(";")[0])
        saved = json.loads((run / "resume" / "state.json").read_text())["step"]
        found.expect(saved == step, f"step {saved} saved, {step} said")


# -- folder conversion


def kill_conversions(folder: Path, number: int, moments: int, seed: int = 0) -> Found:
    """End folder conversions at random moments, each going on from the one before."""
    root, out = scenes(folder / "in", 60), folder / "out"
    for i in range(2):
        raw_files.events(root / f"event{i}" / "events.h5", seed=i, count=20_000)
    draw, found = random.Random(seed), Found()
    with Nursery(folder) as armseg:
        whole = armseg.run("convert", root, "-o", folder / "whole", "--workers", 2)
        assert whole.code == 0, whole.said
        expected = outputs(folder / "whole")
        seen: set[str] = set()
        for _ in range(moments):
            # by progress, not by time: workers take long to start, and how long is the machine's
            wanted, rest = draw.randint(len(seen), len(expected) - 1), draw.uniform(0, 0.05)

            def moment(wanted: int = wanted, rest: float = rest) -> None:
                end = time.monotonic() + 60
                while len(list(out.rglob("*.h5"))) < wanted and time.monotonic() < end:
                    time.sleep(0.005)
                time.sleep(rest)

            ended = armseg.run("convert", root, "-o", out, "--workers", 2, number=number, after=moment)
            found.moments += 1
            found.expect(no_process_left(ended.group), "a process is left")
            try:
                finished = outputs(out) if out.exists() else {}
            except Exception as error:
                found.problems.append(f"a tensor file is not whole: {error}")
                finished = {}
            found.expect(all(expected[n] == v for n, v in finished.items()), "other frames than undisturbed")
            found.expect(seen <= finished.keys(), "a finished output is lost")
            if number != signal.SIGKILL and ended.code != -number:
                found.expect(ended.code in (0, 128 + number), f"exit code {ended.code}: {ended.said[-300:]}")
                found.expect(len(ended.said.strip().splitlines()) <= 3, f"said: {ended.said[-300:]}")
                found.expect(not out.exists() or not hidden(out), f"temporary files: {hidden(out)}")
            found.early += not finished
            found.late += ended.code == 0
            found.at_work += bool(finished) and ended.code != 0
            seen = set(finished)
            if seen == set(expected):
                for path in out.rglob("*.h5"):
                    path.unlink()
                seen = set()
        last = armseg.run("convert", root, "-o", out, "--workers", 2)
    found.expect(last.code == 0, f"does not go on: {last.said}")
    found.expect(outputs(out) == expected, "the end is not that of an undisturbed conversion")
    left = [name for name in names(out) if name.endswith((".tmp", ".lock"))]
    found.expect(not left, f"left over: {left}")
    entries = read_manifest(out / "manifest.jsonl")
    found.expect(
        {entry["status"] for entry in entries} <= {"converted", "skipped"}, "failures in the manifest"
    )
    found.expect(len(entries) == len(expected), "entries are missing in the manifest")
    return found
