"""The run folder of a training: numbered, logged as it goes, and whole enough at any moment to go on from.

runs/<name>-NNN/
    config.json           resolved options
    metrics.jsonl / .csv  a row every few steps; rows of a validation carry miou
    log.txt               what was said
    best/ last/           model folders
    resume/               optimizer state, random state, step (safetensors + json)
    plots/  metrics/      pictures, and the confusion matrix of the best validation
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, OutputError
from armseg_core.files.tensor_file import atomic_path

CSV_COLUMNS = ("step", "epoch", "loss", "lr", "images_per_s", "miou", "miou_rgb_only")


class Run:
    """One run folder, opened for writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, config: TrainConfig) -> Run:
        """The next free NAME-NNN below `config.out`, with its config.json.

        Raises:
            OutputError: the folder cannot be made.
        """
        try:
            config.out.mkdir(parents=True, exist_ok=True)
            tails = [p.name.removeprefix(f"{config.name}-") for p in config.out.glob(f"{config.name}-*")]
            for number in itertools.count(1 + max((int(t) for t in tails if t.isdigit()), default=0)):
                folder = config.out / f"{config.name}-{number:03d}"
                with contextlib.suppress(FileExistsError):  # another run may take the number first
                    folder.mkdir()
                    break
        except OSError as error:
            raise OutputError(
                f"cannot make a run folder: {error.strerror}", where=config.out, hint="--out FOLDER"
            ) from error
        with atomic_path(folder / "config.json") as path:
            path.write_text(config.model_dump_json(indent=2))
        return cls(folder)

    @classmethod
    def reopen(cls, folder: Path) -> tuple[Run, TrainConfig]:
        """A run folder that training can go on from.

        Raises:
            CheckpointError: not a run folder, or nothing saved to go on from.
        """
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                "not a run folder" if folder.exists() else "no such run folder",
                where=folder,
                expected="a folder with config.json",
                hint="armseg train without --resume",
            )
        if not (folder / "resume" / "state.json").is_file():
            raise CheckpointError(
                "stopped before anything was saved", where=folder, hint="armseg train without --resume"
            )
        try:
            values = json.loads((folder / "config.json").read_text())
        except ValueError as error:
            raise CheckpointError("config.json is damaged", where=folder / "config.json") from error
        return cls(folder), TrainConfig.parse(values, where=str(folder / "config.json"))

    def log(self, text: str) -> None:
        """Append a line to log.txt."""
        with open(self.folder / "log.txt", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def record(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl and metrics.csv."""
        with open(self.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        path = self.folder / "metrics.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a line torn by a crash is left out."""
        rows = []
        path = self.folder / "metrics.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`: training goes on from there."""
        rows = [r for r in self.rows() if r["step"] <= step]
        with atomic_path(self.folder / "metrics.jsonl") as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with atomic_path(self.folder / "metrics.csv") as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def save_confusion(self, values: dict[str, Any]) -> None:
        """Write metrics/confusion.json (atomic)."""
        with atomic_path(self.folder / "metrics" / "confusion.json") as path:
            path.write_text(json.dumps(values))

    def load_confusion(self) -> dict[str, Any] | None:
        """What `save_confusion` wrote, or None."""
        path = self.folder / "metrics" / "confusion.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def save_state(self, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Write resume/: named tensors and plain values at the end of `step`.

        state.json names the tensor file and is replaced last, so there is a whole state at every moment.
        """
        folder = self.folder / "resume"
        name = f"state-{step:08d}.safetensors"
        with atomic_path(folder / name) as path:
            safetensors.torch.save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, path)
        with atomic_path(folder / "state.json") as path:
            path.write_text(json.dumps({"step": step, "tensors": name, **values}))
        for old in folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `save_state` wrote.

        Raises:
            CheckpointError: damaged.
        """
        folder = self.folder / "resume"
        try:
            values = json.loads((folder / "state.json").read_text())
            return safetensors.torch.load_file(folder / values["tensors"]), values
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"the resume state is damaged ({error})",
                where=folder,
                hint="armseg train without --resume",
            ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Tensor]:
    """State of AdamW as named tensors; names: id(parameter) -> its name."""
    return {
        f"optimizer.{names[id(p)]}.{key}": value.clone()
        for p, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    for name, parameter in parameters.items():
        prefix = f"optimizer.{name}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in state.items()
            }


class StopOnSignal:
    """Remembers the first Ctrl-C (SIGINT) or SIGTERM until the step is over; the second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step (once more to stop at once)", file=sys.stderr)

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
