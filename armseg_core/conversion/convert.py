"""From a raw recording to a sensor tensor: sniff -> read -> represent -> write.

`convert_file` writes a file of all frames, `to_tensor` gives one model tensor in memory, and
`convert_recording` is `convert_file` as a pure function, for process pools and clusters
(`conversion/folder.py`).

Shape letters: N frames, C channels, H rows, W columns.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.arrays import EventSource, Frame, OutOfOrder
from armseg_core.conversion.plan import Plan, plan_conversion
from armseg_core.conversion.recording import Recording
from armseg_core.errors import (
    ArmsegError,
    ArmsegWarning,
    FormatError,
    UsageError,
    collected_warnings,
)
from armseg_core.files.provenance import BackgroundHash, is_current
from armseg_core.files.tensor_file import SensorTensor, TensorFile, TensorInfo, TensorWriter, is_tensor_file
from armseg_core.sensors.recognition import sniff

__all__ = ["ConversionSummary", "convert_file", "convert_recording", "guess_modality", "to_tensor"]


@dataclass(frozen=True)
class ConversionSummary:
    """What `convert_file` made.

    shape: (N, C, H, W) of /frames; windows = N. events, duration_s and event_rate (events per second of
    recording) are None for sensors without a clock. seconds: wall time. notes: what was guessed, dropped or
    repaired. skipped: nothing was done, the output was already current.
    """

    path: str
    output: str
    modality: str
    reader: str
    representation: str
    shape: tuple[int, ...]
    dtype: str
    windows: int
    events: int | None
    duration_s: float | None
    event_rate: float | None
    seconds: float
    notes: tuple[str, ...] = ()
    skipped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def convert_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
    force: bool = True,
    progress: bool = True,
) -> ConversionSummary:
    """Convert one recording into a sensor-tensor file; memory stays bounded however long the recording is.

    Args:
        path: raw file, or folder that is one recording (a light field of many views).
        output: file; or folder (existing, or a name without suffix or with "/" at its end), which then gets
            `<stem>.<representation>.h5`. Default: that name beside the recording.
        modality: sensor, when content and name leave it open.
        representation: one of the sensor's (default: its own).
        options: fields of the sensor's group in `sensors/options.py`, such as {"window": "50ms"}.
        dtype: float16, float32, uint8 or uint16 (default: float16 for windows of events; for the others what
            keeps the precision of the data: float32, or the integer type of stored views).
        force: False leaves an output alone that is whole and current (same source, settings and version).
        progress: show a bar on stderr when it is a terminal.

    Raises:
        ArmsegError: one line for the user; nothing new is left at the output.
    """
    started = time.perf_counter()
    with collected_warnings() as notes:
        plan = plan_conversion(
            path, output, modality=modality, representation=representation, options=options, dtype=dtype
        )
        if not force and is_current(plan.output, plan.modality, plan.row.name, plan.parameters, plan.source):
            with TensorFile(plan.output) as file:
                made, skipped = _Made(file.frames.shape, str(file.frames.dtype)), True
        else:
            made, skipped = _convert(plan, progress), False
    rate = made.events / made.duration_s if made.events is not None and made.duration_s else None
    return ConversionSummary(
        path=str(path),
        output=str(plan.output),
        modality=plan.modality,
        reader=plan.reader.name,
        representation=plan.row.name,
        shape=tuple(int(n) for n in made.shape),
        dtype=made.dtype,
        windows=int(made.shape[0]),
        events=made.events,
        duration_s=made.duration_s,
        event_rate=rate,
        seconds=time.perf_counter() - started,
        notes=tuple(dict.fromkeys(note.removeprefix(f"{path}: ") for note in (*made.notes, *notes))),
        skipped=skipped,
    )


def convert_recording(
    source: str,
    output: str,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """`convert_file` as a pure function of plain values, for process pools and clusters.

    A bad recording does not raise: the outcome says what happened.

    Returns:
        {"status": "converted" | "skipped" | "failed", "error": text or None, ...fields of ConversionSummary}.
    """
    try:
        summary = convert_file(
            source,
            output,
            modality=modality,
            representation=representation,
            options=options,
            dtype=dtype,
            force=force,
            progress=False,
        )
    except ArmsegError as error:
        return {"status": "failed", "error": str(error)}
    except Exception as error:  # a defect or a lack of memory in one recording must not stop the others
        text = " ".join(str(error).split())
        return {"status": "failed", "error": f"{source}: internal error: {type(error).__name__}: {text}"}
    return {"status": "skipped" if summary.skipped else "converted", "error": None, **summary.to_dict()}


@dataclass
class _Made:
    """What a conversion wrote."""

    shape: tuple[int, ...]
    dtype: str
    events: int | None = None
    duration_s: float | None = None
    notes: tuple[str, ...] = ()


def _convert(plan: Plan, progress: bool) -> _Made:
    before = plan.source.stat()
    digest = BackgroundHash(plan.source)
    recording = plan.reader.read(plan.source, plan.options)
    if isinstance(recording, EventSource):
        with recording as source:
            dtype = plan.dtype or "float16"
            try:
                made = _write(plan, _event_frames(source, plan, progress), digest, dtype)
            except OutOfOrder as found:  # seen only while reading: put the events in order, start again
                found.source.check_order()
                made = _write(plan, _event_frames(source, plan, progress), digest, dtype)
            notes, duration = tuple(source.notes), (source.t_last_us - source.t_first_us) / 1e6
            made = replace(made, events=source.count, duration_s=duration, notes=notes)
    else:
        frame = plan.row.make(recording, plan.options)
        made = _write(plan, iter([frame]), digest, plan.dtype or _lossless_dtype(frame.values))
    after = plan.source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        warnings.warn(
            ArmsegWarning("the recording changed while it was read: convert it again"), stacklevel=2
        )
    return made


def _lossless_dtype(frame: np.ndarray) -> str:
    return str(frame.dtype) if frame.dtype in (np.uint8, np.uint16) else "float32"


def _write(plan: Plan, frames: Iterator[Frame], digest: BackgroundHash, dtype: str) -> _Made:
    """Write the frames; the file appears only when all of them and the hash of the source are in it."""
    first = next(frames, None)
    if first is None:
        raise FormatError(
            "holds no window of events to convert", where=plan.source, expected="at least one event"
        )
    info = TensorInfo(
        plan.modality,
        plan.row.name,
        first.channels,
        first.units,
        first.value_range,
        plan.parameters,
        source_name=plan.source.absolute().name,
    )
    count = 0
    with TensorWriter(plan.output, info, size=first.values.shape[1:], dtype=dtype) as writer:
        frame: Frame | None = first
        while frame is not None:
            writer.append(cast_frame(frame.values, dtype), frame.t_us)
            count += 1
            frame = next(frames, None)
        sha, rule = digest.result()
        writer.info = replace(info, source_sha256=sha, source_hash=rule)
    return _Made((count, *first.values.shape), dtype)


def _event_frames(source: EventSource, plan: Plan, progress: bool) -> Iterator[Frame]:
    from tqdm import tqdm

    from armseg_core.sensors.event.windows import count_windows, iterate_windows

    options: Any = plan.options  # of the event group
    silent = None if progress else True  # None: on a terminal only
    total = count_windows(source, options, trusting=True)
    with tqdm(total=total, unit="window", desc=plan.source.name, leave=False, disable=silent) as bar:
        for events, t0_us, t1_us in iterate_windows(source, options, trusting=True):
            yield plan.row.make(events, options, t0_us, t1_us)
            bar.update()


def cast_frame(frame: np.ndarray, dtype: str) -> np.ndarray:
    """A frame in the dtype of the file.

    Raises:
        UsageError: the values do not fit (too large for float16; negative, fractional or too large for an
            integer type).
    """
    if str(frame.dtype) == dtype or not frame.size:
        return frame.astype(dtype, copy=False)
    limit = float(np.finfo(dtype).max if dtype.startswith("float") else np.iinfo(dtype).max)
    low, high = float(frame.min()), float(frame.max())
    fits = max(-low, high) <= limit
    if dtype.startswith("uint"):
        fits = fits and low >= 0 and bool((frame == np.trunc(frame)).all())
    if not fits:
        raise UsageError(
            f"values from {low:g} to {high:g} do not fit {dtype}", where="--dtype", hint="--dtype float32"
        )
    if dtype == "float16" and frame.dtype == np.float32:
        import cv2  # rounds like numpy, and takes 0.2 ms for 5 x 480 x 640 where numpy takes 6

        flat: Any = frame.reshape(len(frame), -1)
        return cv2.add(flat, np.zeros(1), dtype=cv2.CV_16F).reshape(frame.shape)
    return frame.astype(dtype)


def to_tensor(
    path: str | os.PathLike[str],
    *,
    modality: str | None = None,
    size: tuple[int, int] | None = None,
    at_us: int | None = None,
    options: dict[str, Any] | None = None,
) -> SensorTensor:
    """One model tensor of a recording: float32, with the channels of the sensor's row in
    `sensors/modalities.py`.

    Args:
        path: raw recording or sensor-tensor file.
        modality: sensor, when content and name leave it open.
        size: (H, W) of the result. Raw events and point clouds are scaled by their coordinates; everything
            else is resized by the sensor's rule (`sensors/resizing.py`). Default: the recording's own size.
        at_us: absolute time in microseconds. Raw events: the window (default 50 ms) that ends there, by
            default at the end of the recording. Sensor-tensor file: the frame nearest to it, by default the
            last.
        options: fields of the sensor's options group, for raw recordings.

    Returns:
        SensorTensor with frames (1, C, H, W) float32 and t_us (1,).

    Raises:
        ArmsegError: unreadable recording, wrong sensor, or frames that are not a model's input.
    """
    with Recording.open(path, modality, options) as recording:
        return recording.frame(size, at_us)


def guess_modality(path: str | os.PathLike[str]) -> str | None:
    """The sensor of a raw or converted file, from content and name alone; None when they leave it open."""
    try:
        if Path(path).is_file() and is_tensor_file(path):
            with TensorFile(path) as file:
                return file.info.modality
        return sniff(path).modality
    except ArmsegError:
        return None
