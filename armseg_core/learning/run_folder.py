"""The run folder of a training: numbered, logged as it goes, and whole enough at any moment to go on from.

runs/<name>-NNN/
    config.json           resolved options
    metrics.jsonl / .csv  a row every few steps; rows of a validation carry miou
    log.txt               what was said
    best/ last/           model folders
    resume/               optimizer state, random state, step (safetensors + json), see resume_state.py
    .lock                 held while a training writes here
    plots/  metrics/      pictures; the confusion matrix of the best validation, and reports of `armseg eval`

These names are known here and nowhere else. Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, FormatError, OutputError
from armseg_core.files.atomic import append_whole, atomic_path, recover_folder, remove_leftovers
from armseg_core.files.json_lines import append_row, read_rows, write_rows
from armseg_core.files.json_text import to_json
from armseg_core.files.locks import lock_file

MODEL_FILE = "armseg.json"  # what makes a folder a model folder; model_folder.py writes and reads it
CSV_COLUMNS = ("step", "epoch", "loss", "lr", "images_per_s", "miou", "miou_rgb_only")
# what may be given anew when a run goes on: where and how it computes, not what is learned
CHANGEABLE = ("model.guide_weights", "model.backbone_weights", "device", "workers")
OUT: Path = TrainConfig.model_fields["out"].default  # where runs lie unless --output says otherwise


class RunFolder:
    """A run folder, to write or to read. Making the object touches no file.

    folder: the run folder itself. best, last: its model folders, which may not be there (yet).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.best, self.last = self.folder / "best", self.folder / "last"
        self.state_file = self.folder / "resume" / "state.json"
        self._config = self.folder / "config.json"
        self._rows, self._table = self.folder / "metrics.jsonl", self.folder / "metrics.csv"
        self._confusion = self.folder / "metrics" / "confusion.json"
        self._log = self.folder / "log.txt"

    # -- finding runs

    @classmethod
    def create(cls, config: TrainConfig) -> RunFolder:
        """The next free NAME-NNN below `config.out`, with its config.json.

        Raises:
            OutputError: the folder cannot be made.
        """
        try:
            config.out.mkdir(parents=True, exist_ok=True)
            tails = [p.name.removeprefix(f"{config.name}-") for p in config.out.glob(f"{config.name}-*")]
            for number in itertools.count(1 + max((int(t) for t in tails if t.isdigit()), default=0)):
                run = cls(config.out / f"{config.name}-{number:03d}")
                with contextlib.suppress(FileExistsError):  # another run may take the number first
                    run.folder.mkdir()
                    break
        except OSError as error:
            raise OutputError(
                f"cannot make a run folder: {error.strerror}", where=config.out, hint="--output FOLDER"
            ) from error
        try:
            run.record_config(config)
        except OutputError:
            run.folder.rmdir()
            raise
        return run

    def record_config(self, config: TrainConfig) -> None:
        """Write config.json (atomic)."""
        with atomic_path(self._config) as path:
            path.write_text(config.model_dump_json(indent=2))

    @classmethod
    def reopen(cls, folder: Path) -> tuple[RunFolder, TrainConfig]:
        """A run folder that training can go on from, and its options.

        Raises:
            CheckpointError: not a run folder, one of armseg 0.1.0, or nothing saved to go on from.
        """
        run = cls(folder)
        if not run._config.is_file():
            raise CheckpointError(
                "not a run folder" if folder.exists() else "no such run folder",
                where=folder,
                expected=f"a folder with {run._config.name}",
                hint="armseg train without --resume",
            )
        if not run.state_file.is_file():
            raise CheckpointError(
                "stopped before anything was saved", where=folder, hint="armseg train without --resume"
            )
        try:
            values = json.loads(run._config.read_text())
        except ValueError as error:
            raise CheckpointError(f"{run._config.name} is damaged", where=run._config) from error
        model = values.get("model") if isinstance(values, dict) else None
        if isinstance(model, dict) and "clip" in model:  # what armseg 0.1.0 called its only tower
            raise CheckpointError(
                "a run of armseg 0.1.0, whose network this version no longer has",
                where=run._config,
                hint="armseg train without --resume, or armseg 0.1.0 for this run",
            )
        return run, TrainConfig.parse(values, where=str(run._config))

    @classmethod
    def newest(cls, out: Path = OUT) -> RunFolder:
        """The run below `out` whose model was written last.

        Raises:
            CheckpointError: there is none, with the command that makes one.
        """
        runs = [cls(folder) for folder in out.glob("*/")]
        models = [m / MODEL_FILE for run in runs for m in (run.best, run.last) if is_model_folder(m)]
        if not models:
            raise CheckpointError(
                "no trained model found", where=out, hint="armseg train, or name the folder of a model"
            )
        return cls(max(models, key=lambda file: file.stat().st_mtime).parent.parent)

    @classmethod
    def resumable(cls, out: Path = OUT, pattern: str = "*") -> list[RunFolder]:
        """The runs below `out` that training can go on from, the one saved last at the end.

        Args:
            pattern: of the names of the run folders, as for `Path.glob`.
        """
        runs = [run for folder in out.glob(f"{pattern}/") if (run := cls(folder)).state_file.is_file()]
        return sorted(runs, key=lambda run: run.state_file.stat().st_mtime)

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> RunFolder | None:
        """The run that a path belongs to (run folder, its metrics.jsonl, a model folder in it), or None."""
        path = Path(path)
        run = cls(path)
        if path.is_file():
            owner = cls(path.parent)
            return owner if path == owner._rows else None
        if not run.exists() and is_model_folder(path):
            run = cls((path if path.name not in ("", "..") else path.resolve()).parent)
        return run if run.exists() else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other trainings out while the block runs; what a killed one left unfinished is removed first.

        Raises:
            OutputError: another training is writing here, or the folder cannot be written.
        """
        with lock_file(
            self.folder / ".lock",
            "another training is writing here",
            hint="wait for it, or armseg train without --resume",
        ):
            own = {path.name for path in (self._config, self._rows, self._table, self.best, self.last)}
            remove_leftovers(self.folder, own.__contains__)
            remove_leftovers(self.state_file.parent, lambda name: name.startswith("state"))
            for picture in (self.plot("curves"), self.plot("confusion"), self._confusion):
                remove_leftovers(picture.parent, picture.name.__eq__)
            yield

    def exists(self) -> bool:
        """Whether the folder looks like a run: it holds numbers, or options beside something that a run made.

        Other programs write a config.json, too.
        """
        made = (self._log, self.best, self.last, self.state_file)
        return (
            self._rows.is_file()
            or self._confusion.is_file()
            or (self._config.is_file() and any(path.exists() for path in made))
        )

    # -- what a run holds

    @property
    def model(self) -> Path:
        """The model folder to use: the best, else the last.

        Raises:
            CheckpointError: there is none.
        """
        for candidate in (self.best, self.last):
            if is_model_folder(candidate):
                return candidate
        raise CheckpointError(
            "no model here" if self.folder.exists() else "no such folder",
            where=self.folder,
            expected=f"a folder with {MODEL_FILE}, or a run folder",
            hint="armseg train",
        )

    @property
    def data(self) -> list[Path]:
        """The data set folders that it was trained on; none where config.json cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return [Path(folder) for folder in json.loads(self._config.read_text())["data"]]
        return []

    @property
    def modalities(self) -> tuple[str, ...]:
        """The sensors that it was trained with; none where config.json cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return tuple(json.loads(self._config.read_text())["modalities"])
        return ()

    def plot(self, name: str) -> Path:
        """The PNG file of a picture of the run: 'curves' -> plots/curves.png."""
        return self.folder / "plots" / f"{name}.png"

    def eval_report(self, split: str) -> Path:
        """The file of the report of `armseg eval` on a split."""
        return self._confusion.with_name(f"eval_{split}.json")

    def log(self, text: str) -> None:
        """Append a line to log.txt.

        Raises:
            OutputError: it cannot be written.
        """
        append_whole(self._log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    # -- numbers

    def record(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl and metrics.csv.

        Raises:
            OutputError: it cannot be written.
        """
        append_row(self._rows, row)
        append_whole(self._table, _as_csv([row], header=not self._table.exists()))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a line torn by a crash is left out."""
        return read_rows(self._rows)

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`: training goes on from there."""
        rows = [r for r in self.rows() if r["step"] <= step]
        write_rows(self._rows, rows)
        with atomic_path(self._table) as path:
            path.write_bytes(_as_csv(rows, header=True).encode())

    def save_confusion(self, values: dict[str, Any]) -> None:
        """Write the confusion matrix of the best validation (atomic)."""
        with atomic_path(self._confusion) as path:
            path.write_text(to_json(values))

    def confusion(self) -> dict[str, Any] | None:
        """What `save_confusion` wrote, or None.

        Raises:
            FormatError: damaged.
        """
        if not self._confusion.is_file():
            return None
        try:
            values: dict[str, Any] = json.loads(self._confusion.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FormatError(
                "is not JSON", where=self._confusion, expected="the report of `armseg eval`"
            ) from error
        return values


def _as_csv(rows: list[dict[str, Any]], header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))})
    return text.getvalue()


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model (see model_folder.py).

    One that is missing because its writer was killed while it replaced it is brought back.
    """
    recover_folder(path)
    return (path / MODEL_FILE).is_file()


def find_model(folder: str | os.PathLike[str]) -> Path:
    """The model folder meant by a model or run folder.

    Raises:
        CheckpointError: there is none.
    """
    folder = Path(folder)
    return folder if is_model_folder(folder) else RunFolder(folder).model
