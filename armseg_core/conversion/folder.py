"""Converting many recordings: in parallel, on many machines, and again after a crash.

Every output is written atomically, and one that is whole and current is left alone; so a run that was killed
is finished by the same command. What became of each recording stands in the manifest (`manifest.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armseg_core import advice
from armseg_core.conversion.convert import convert_recording
from armseg_core.conversion.discovery import Found, find_recordings
from armseg_core.conversion.jobs import Result, bars_without_semaphore, run_local, run_ray
from armseg_core.conversion.manifest import Manifest
from armseg_core.conversion.plan import check_compression, default_name
from armseg_core.conversion.reading import parse_options
from armseg_core.errors import ArmsegError, InputError, UsageError
from armseg_core.files.atomic import remove_leftovers
from armseg_core.files.ownership import check_free
from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.sensors.modalities import SENSORS, get_modality
from armseg_core.sensors.recognition import sniff
from armseg_core.sensors.representations import get_representation
from armseg_core.sensors.sniffing import HDF5_SUFFIXES

ENGINES = ("local", "ray")
Shard = tuple[int, int]  # (which, of how many), counted from 1


@dataclass(frozen=True)
class FolderSummary:
    """What `convert_folder` did. outcomes: one manifest entry per recording of this run."""

    converted: int
    skipped: int
    failed: int
    seconds: float
    manifest: str
    shard: Shard | None
    outcomes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Task:
    """One recording with its place: paths as in the manifest, and the job (None: `error` says why not)."""

    input: str
    output: str | None
    job: dict[str, Any] | None
    error: str | None = None


def convert_folder(
    inputs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
    compression: str | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    engine: str = "local",
    force: bool = False,
    progress: bool = True,
) -> FolderSummary:
    """Convert every recording below folders, behind glob patterns or in a list of files.

    The outputs keep the folder structure of the inputs below `output_dir` (default: each beside its input),
    named `<stem>.<representation>.h5`. A bad recording does not stop the others.

    Args:
        inputs: folders, patterns, files.
        modality, representation, options, dtype, compression: as for `convert_file`; an option must apply to
            at least one of the sensors found and is used for those it applies to.
        workers: parallel processes (default: one per available core); engine "local" only.
        shard: (i, n), i from 1: only this share of the recordings; the n shares together are all of them.
            Default: SLURM_ARRAY_TASK_ID and its companions, where they are set.
        engine: "local" (processes) or "ray" (an existing Ray cluster).
        force: replace any file in the way, as for `convert_file`.
        progress: show a bar on stderr when it is a terminal.

    Raises:
        ArmsegError: nothing can be converted at all (no recording, bad option, unwritable folder, a file of
            another kind in the way of a result or of the manifest).
        KeyboardInterrupt: passed on when workers have ended and left nothing unfinished.
    """
    started = time.perf_counter()
    if engine not in ENGINES:
        raise UsageError(
            f"unknown engine '{engine}'", where="--engine", expected="one of " + ", ".join(ENGINES)
        )
    shard = shard or shard_from_environment(os.environ)
    skip = None if output_dir is None else Path(output_dir)
    root, found = find_recordings(inputs, modality, skip, shard)
    folder = root if output_dir is None else Path(output_dir)
    if not found and shard is None:  # another share may have some
        raise _nothing_found(inputs, modality)
    if found and output_dir is not None and Path(output_dir).suffix in HDF5_SUFFIXES:
        raise _one_file_for(inputs, found, str(output_dir))
    common = {"dtype": dtype, "compression": check_compression(compression), "force": force}
    options = options or {}
    if shard is not None:  # an option may apply to the sensors of another share
        options = {name: value for name, value in options.items() if _applies(name, found)}
    tasks = _tasks(found, folder, representation, options, common)
    name = "manifest.jsonl"
    if shard is not None:
        name = f"manifest.{shard[0]}-of-{shard[1]}.jsonl"
    # whether a tensor file was changed is found out by its job: that takes reading it
    check_free((Path(task.job["output"]) for task in tasks if task.job), force=force, ours=is_tensor_file)
    outcomes = []
    with Manifest(folder / name, force=force) as manifest:
        try:
            _remove_leftovers(tasks, manifest)
            for entry in _outcomes(tasks, engine, workers or available_cores(), progress):
                manifest.add(entry)
                outcomes.append(entry)
        finally:
            _remove_leftovers(tasks, manifest)
    count = Counter(entry["status"] for entry in outcomes)
    seconds = time.perf_counter() - started
    return FolderSummary(
        count["converted"],
        count["skipped"],
        count["failed"],
        seconds,
        str(manifest.path),
        shard,
        tuple(outcomes),
    )


def _nothing_found(inputs: Sequence[str | os.PathLike[str]], modality: str | None) -> ArmsegError:
    if len(inputs) == 1 and Path(inputs[0]).is_dir():
        try:
            sniff(inputs[0], modality)
        except ArmsegError as error:  # why the folder itself is no recording; and nothing in it is one
            what = f"{error.what}, and none is in it"
            return InputError(what, where=error.where, expected=error.expected, hint=error.hint)
    wanted = f"recordings of the sensor {modality}" if modality else "recordings of a known format"
    return InputError("no recording found", where=", ".join(map(str, inputs)), expected=wanted)


def _one_file_for(inputs: Sequence[str | os.PathLike[str]], found: list[Found], output: str) -> ArmsegError:
    """The error of a file name for the results of several inputs, or of a folder."""
    first = advice.command("convert", found[0].source, "-o", Path(output))
    if len(inputs) == 1 and Path(inputs[0]).is_dir():
        number = "one recording" if len(found) == 1 else f"{len(found)} recordings"
        what, where = f"is not a recording itself and holds {number}", inputs[0]
    else:
        what, where = f"'{output}' is a file name", "--output"
    return UsageError(what, where=where, expected="a folder of results with -o/--output", hint=first)


def _tasks(
    found: list[Found],
    folder: Path,
    representation: str | None,
    options: dict[str, Any],
    common: dict[str, Any],
) -> list[_Task]:
    """Decide names and options once, so that a wrong option is one error and not a thousand failures."""
    sensors = sorted({item.modality for item in found if item.modality})
    if representation is not None:  # a wrong name is said before a wrong option
        for sensor in sensors:
            get_representation(sensor, representation)
    usable = _options_by_sensor(sensors, options)
    rows = {
        sensor: get_representation(sensor, representation, parse_options(sensor, usable[sensor]))
        for sensor in sensors
    }
    names = [
        item.relative.parent / default_name(item.source, rows[item.modality].name) if item.modality else None
        for item in found
    ]
    shared = {name for name, count in Counter(names).items() if count > 1}
    tasks = []
    for item, name in zip(found, names, strict=True):
        if name is None:
            tasks.append(_Task(str(item.relative), None, None, _why_open(item.source)))
            continue
        row = rows[item.modality]
        if name in shared:  # a.npz and a.h5 in one folder: keep the suffix
            name = item.relative.parent / f"{item.source.name}.{row.name}.h5"
        job = {
            "source": str(item.source.absolute()),
            "output": str((folder / name).absolute()),
            "modality": item.modality,
            "representation": row.name,
            "options": usable[item.modality],
            **common,
        }
        tasks.append(_Task(str(item.relative), str(name), job))
    return tasks


def _applies(option: str, found: list[Found]) -> bool:
    """Whether an option is that of a sensor among these, or of no sensor at all, which is an error."""
    owners = {name for name, row in SENSORS.items() if option in row.options.model_fields}
    return not owners or any(item.modality in owners for item in found)


def _options_by_sensor(sensors: list[str], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each option goes to the sensors it applies to; one that applies to none of them raises UsageError."""
    usable: dict[str, dict[str, Any]] = {sensor: {} for sensor in sensors}
    for name, value in options.items():
        owners = [sensor for sensor in sensors if name in get_modality(sensor).options.model_fields]
        for sensor in owners or sensors[:1]:  # parsing raises where there is no owner
            usable[sensor][name] = value
    for sensor, values in usable.items():
        files = {key: str(v.absolute()) for key, v in parse_options(sensor, values) if isinstance(v, Path)}
        values.update(files)  # workers on other machines run elsewhere
    return usable


def _why_open(source: Path) -> str:
    try:
        sniff(source)
    except ArmsegError as error:
        return str(error)
    except Exception as error:  # as in `convert_recording`: one file never stops the others
        text = " ".join(str(error).split())
        return f"{source}: internal error: {type(error).__name__}: {text}"
    return f"{source}: changed while the folder was searched"


def _outcomes(tasks: list[_Task], engine: str, workers: int, progress: bool) -> Iterator[dict[str, Any]]:
    """Manifest entries as the recordings are finished."""
    from tqdm import tqdm

    jobs = [(task, task.job) for task in tasks if task.job is not None]
    arguments = [job for _, job in jobs]
    results: Generator[Result] = (
        run_ray(convert_recording, arguments)
        if engine == "ray"
        else run_local(convert_recording, arguments, workers)
    )
    silent = None if progress else True  # None: shown on a terminal only
    bars_without_semaphore()
    with contextlib.closing(results), tqdm(total=len(tasks), unit="file", leave=False, disable=silent) as bar:
        for task in tasks:
            if task.job is None:
                bar.update()
                yield _entry(task, {"status": "failed", "error": task.error})
        for number, outcome in results:
            bar.update()
            yield _entry(jobs[number][0], outcome)


def _entry(task: _Task, outcome: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in outcome.items() if key not in ("path", "output", "skipped")}
    job = task.job or {}
    return {
        "input": task.input,
        "output": task.output,
        "modality": job.get("modality"),
        "representation": job.get("representation"),
        **kept,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _remove_leftovers(tasks: list[_Task], manifest: Manifest) -> None:
    """Remove temporary files that a killed run left at our outputs; the lock says that nobody writes them."""
    if not manifest.locked:
        return
    by_folder = {manifest.path.parent: {manifest.path.name}}
    for task in tasks:
        if task.job is not None:
            output = Path(task.job["output"])
            by_folder.setdefault(output.parent, set()).add(output.name)
    for folder, names in by_folder.items():
        remove_leftovers(folder, names.__contains__)


def available_cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_shard(text: str) -> Shard:
    """'2/8' -> (2, 8), counted from 1.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"'{text}' is not a share", where="--shard", expected="i/n with i from 1 to n, such as 2/8"
        )
    return int(match[1]), int(match[2])


def shard_from_environment(environment: Mapping[str, str]) -> Shard | None:
    """The share of a task of a SLURM array job, None outside of one.

    Raises:
        UsageError: the ids of the array are not evenly spaced, so the number of the task is not known.
    """
    if not environment.get("SLURM_ARRAY_TASK_ID") or not environment.get("SLURM_ARRAY_TASK_COUNT"):
        return None
    task, count = int(environment["SLURM_ARRAY_TASK_ID"]), int(environment["SLURM_ARRAY_TASK_COUNT"])
    low, high = (
        int(environment.get(f"SLURM_ARRAY_TASK_{end}") or fallback)
        for end, fallback in (("MIN", 0), ("MAX", count - 1))
    )
    step = int(environment.get("SLURM_ARRAY_TASK_STEP") or 1)
    index = (task - low) // step
    if (high - low) // step + 1 != count or not 0 <= index < count:
        raise UsageError(
            f"task {task} of the SLURM array has no place among {count} shares",
            where="SLURM_ARRAY_TASK_ID",
            expected="an array such as --array=0-7",
            hint="--shard i/n",
        )
    return index + 1, count
