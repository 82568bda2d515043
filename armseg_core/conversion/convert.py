"""From a recording to a sensor tensor: open -> frames -> write.

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

from armseg_core.arrays import Frame, OutOfOrder
from armseg_core.conversion.arrays_as_files import as_file
from armseg_core.conversion.plan import Plan, plan_conversion
from armseg_core.conversion.recording import Recording
from armseg_core.errors import (
    ArmsegError,
    ArmsegWarning,
    FormatError,
    UsageError,
    collected_warnings,
    is_panic,
)
from armseg_core.files.hashing import BackgroundHash
from armseg_core.files.ownership import check_free
from armseg_core.files.provenance import is_current, is_own
from armseg_core.files.tensor_file import SensorTensor, TensorFile, TensorWriter, is_tensor_file
from armseg_core.sensors.recognition import Reader, sniff

__all__ = ["ConversionSummary", "convert_file", "convert_recording", "guess_format", "to_tensor"]


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
    compression: str | None = None,
    force: bool = False,
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
        compression: gzip (default; any HDF5 library reads it) or blosc (quicker; needs hdf5plugin to read).
        force: replace any file in the way. Without it an output that is whole and current (same source,
            settings and version) is left alone, and a file that armseg did not make or that was changed since
            is an error.
        progress: show a bar on stderr when it is a terminal.

    Raises:
        ArmsegError: one line for the user; nothing new is left at the output.
    """
    started = time.perf_counter()
    with collected_warnings() as notes:
        plan = plan_conversion(
            path,
            output,
            modality=modality,
            representation=representation,
            options=options,
            dtype=dtype,
            compression=compression,
        )
        current = not force and _is_current(plan)
        if not current:
            check_free([plan.output], force=force, ours=lambda path: is_own(path, plan.reading.path))
        summary = _found(plan) if current else _convert(plan, progress)
    said = dict.fromkeys(note.removeprefix(f"{path}: ") for note in (*summary.notes, *notes))
    return replace(
        summary, path=str(path), notes=tuple(said), seconds=time.perf_counter() - started, skipped=current
    )


def convert_recording(
    source: str,
    output: str,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
    compression: str | None = None,
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
            compression=compression,
            force=force,
            progress=False,
        )
    except ArmsegError as error:
        return {"status": "failed", "error": str(error)}
    except MemoryError:
        return {"status": "failed", "error": f"{source}: out of memory. Try: fewer --workers"}
    except BaseException as error:  # a defect met in one recording must not stop the others
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        text = " ".join(str(error).split())
        return {"status": "failed", "error": f"{source}: internal error: {type(error).__name__}: {text}"}
    return {"status": "skipped" if summary.skipped else "converted", "error": None, **summary.to_dict()}


def _is_current(plan: Plan) -> bool:
    reading = plan.reading
    return is_current(plan.output, reading.sensor, reading.row.name, plan.parameters, reading.path)


def _found(plan: Plan) -> ConversionSummary:
    """The summary of an output that is there already."""
    with TensorFile(plan.output) as file:
        return _summary(plan, file.frames.shape, str(file.frames.dtype))


def _convert(plan: Plan, progress: bool) -> ConversionSummary:
    before = _states(plan.reading.files)
    digest = BackgroundHash(plan.reading.path)
    with Recording.of(plan.reading) as recording:
        try:
            shape, dtype = _write(plan, recording, digest, progress)
        except OutOfOrder as found:  # seen only while reading: put the events in order, start again
            found.source.check_order()
            shape, dtype = _write(plan, recording, digest, progress)
        summary = _summary(plan, shape, dtype, recording)
    if _states(plan.reading.files) != before:
        warnings.warn(
            ArmsegWarning("the recording changed while it was read: convert it again"), stacklevel=2
        )
    return summary


def _states(files: tuple[Path, ...]) -> dict[Path, tuple[int, int] | None]:
    """Size and time of change of each file, None of one that is gone."""
    states: dict[Path, tuple[int, int] | None] = {}
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            states[file] = None
        else:
            states[file] = stat.st_size, stat.st_mtime_ns
    return states


def _summary(
    plan: Plan, shape: tuple[int, ...], dtype: str, recording: Recording | None = None
) -> ConversionSummary:
    events = recording.events if recording else None
    first, last = (recording.span_us if recording else None) or (0, 0)
    duration = (last - first) / 1e6 if events is not None else None
    return ConversionSummary(
        path=str(plan.reading.path),
        output=str(plan.output),
        modality=plan.reading.sensor,
        reader=plan.reading.reader.name,
        representation=plan.reading.row.name,
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        windows=int(shape[0]),
        events=events,
        duration_s=duration,
        event_rate=events / duration if events is not None and duration else None,
        seconds=0.0,
        notes=recording.notes if recording else (),
    )


def _write(
    plan: Plan, recording: Recording, digest: BackgroundHash, progress: bool
) -> tuple[tuple[int, ...], str]:
    """Write the frames; the file appears only when all of them and the hash of the source are in it.

    Returns:
        shape (N, C, H, W) and dtype of what is written.
    """
    frames = _shown(recording, progress)
    first = next(frames, None)
    if first is None:
        raise FormatError(
            "holds no window of events to convert", where=recording.path, expected="at least one event"
        )
    windows = recording.events is not None
    dtype = plan.dtype or ("float16" if windows else _lossless_dtype(first.values))
    info = replace(recording.info(first), parameters=plan.parameters)
    h, w = first.values.shape[1:]
    count = 0
    with TensorWriter(plan.output, info, (h, w), dtype, plan.compression) as writer:
        frame: Frame | None = first
        while frame is not None:
            writer.append(cast_frame(frame.values, dtype), frame.t_us)
            count += 1
            frame = next(frames, None)
        sha, rule = digest.result()
        writer.info = replace(info, source_sha256=sha, source_hash=rule)
    return (count, *first.values.shape), dtype


def _lossless_dtype(values: np.ndarray) -> str:
    return str(values.dtype) if values.dtype in (np.uint8, np.uint16) else "float32"


def _shown(recording: Recording, progress: bool) -> Iterator[Frame]:
    """The frames, with a bar that counts them."""
    from tqdm import tqdm

    total = recording.count(trusting=True)
    silent = None if progress and total > 1 else True  # None: on a terminal only
    with tqdm(total=total, unit="frame", desc=recording.path.name, leave=False, disable=silent) as bar:
        for frame in recording.frames(trusting=True):
            yield frame
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
    path: Any,
    *,
    modality: str | None = None,
    size: tuple[int, int] | None = None,
    at_us: int | None = None,
    options: dict[str, Any] | None = None,
) -> SensorTensor:
    """One model tensor of a recording, with the channels of the sensor's row in `sensors/modalities.py`.

    Args:
        path: raw recording or sensor-tensor file; an array, which is read as a .npy file of it would be, or a
            PIL image, read as a PNG.
        modality: sensor, when content and name leave it open.
        size: (H, W) of the result. Raw events and point clouds are scaled by their coordinates; everything
            else is resized by the sensor's rule (`resizing.py`). Default: the recording's own size.
        at_us: absolute time in microseconds. Raw events: the window (default 50 ms) that ends there, by
            default at the end of the recording. Sensor-tensor file: the frame nearest to it, by default the
            last.
        options: fields of the sensor's options group, for raw recordings.

    Returns:
        SensorTensor with frames (1, C, H, W) float32 and t_us (1,).

    Raises:
        ArmsegError: unreadable recording, wrong sensor, or frames that are not a model's input.
    """
    with as_file(path) as file, Recording.open(file, modality, options) as recording:
        return recording.frame(size, at_us)


def guess_format(path: str | os.PathLike[str]) -> tuple[str | None, Reader | None]:
    """The sensor of a raw or converted file, from content and name alone.

    Returns:
        the sensor and the raw format; no format for a sensor-tensor file, and neither when content and name
        leave the sensor open.
    """
    try:
        if Path(path).is_file() and is_tensor_file(path):
            with TensorFile(path) as file:
                return file.info.modality, None
        reader = sniff(path)
    except ArmsegError:
        return None, None
    return reader.modality, reader
