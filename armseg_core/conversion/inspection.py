"""What a raw or converted file is, without converting it; memory is bounded however long the recording is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.arrays import (
    Bands,
    Depth,
    EventMoments,
    EventPicture,
    Events,
    EventSource,
    HhaImage,
    LightField,
    PointCloud,
    PolarizedImages,
    RelativeDepth,
    Stokes,
    Thermal,
)
from armseg_core.conversion.reading import Reading
from armseg_core.conversion.recording import Recording
from armseg_core.errors import collected_warnings
from armseg_core.files.tensor_file import TensorFile, is_tensor_file
from armseg_core.sensors.modalities import get_modality

Report = dict[str, Any]  # plain JSON values, in the order in which they are shown

CHUNK = 1 << 20  # events at a time: some 30 MB of them, whatever the length of the recording
_RATE_BIN_US = 10_000  # short enough to show a burst, long enough for a rate not to be noise


def inspect_file(
    path: str | os.PathLike[str], *, modality: str | None = None, options: dict[str, Any] | None = None
) -> Report:
    """Describe any file or folder armseg can convert, or has converted.

    Args:
        path: raw recording, or sensor-tensor file.
        modality: sensor, when content and name leave it open.
        options: fields of the sensor's options group that reading needs ({"sensor_size": "346x260"}).

    Returns:
        Plain values: "path", "kind" ("raw", "converted" or "refused"), "format", "modality", "bytes", and
        what the sensor has: size, duration, rates, ranges, ... "representations" are those that it can become
        where the usual one cannot be made, "notes" lists what was guessed, dropped or repaired.

    Raises:
        ArmsegError: the file is missing, damaged or of no known format.
    """
    path = Path(path)
    if path.is_file() and is_tensor_file(path):
        with Recording.open(path) as stored:
            return _converted(path, stored.content)
    reading = Reading.find(path, modality, options, refused_too=True)
    reader = reading.reader
    report: Report = {
        "path": str(path),
        "kind": "refused" if reader.refuse else "raw",
        "format": reader.title,
        "reader": reader.name,
        "modality": reader.modality,
        "bytes": _bytes(path),
    }
    if reader.refuse:
        return report | {"advice": reader.refuse}
    with collected_warnings() as notes, Recording.of(reading) as recording:
        report |= _describe(recording.content) | _shown(recording)
    said = dict.fromkeys(note.removeprefix(f"{path}: ") for note in (*report.get("notes", ()), *notes))
    return report | {"notes": list(said)}


def _shown(recording: Recording) -> Report:
    """The representations that it can become, where they are not the sensor's usual one."""
    row = get_modality(recording.sensor)
    names = () if row.shown is None else row.shown(recording.content)
    return {"representations": list(names)} if names and row.representation not in names else {}


def _describe(content: Any) -> Report:
    """What a reader gave, in the words of its kind."""
    if isinstance(content, EventSource):
        return _events(content)
    for kind, describe in _DESCRIBE.items():
        if isinstance(content, kind):
            return describe(content)
    return (
        _numbers("values", content)
        if isinstance(content, np.ndarray)
        else {"content": type(content).__name__}
    )


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


# --- converted files -------------------------------------------------------------------------------------


def _converted(path: Path, file: TensorFile) -> Report:
    info, times = file.info, file.t_us
    n, c, h, w = file.frames.shape
    report: Report = {
        "path": str(path),
        "kind": "converted",
        "format": "sensor-tensor file",
        "modality": info.modality,
        "representation": info.representation,
        "bytes": _bytes(path),
        "shape": [n, c, h, w],
        "dtype": str(file.frames.dtype),
        "size": f"{w}x{h}",
        "channels": list(info.channels),
        "units": list(info.units),
        "value_range": list(info.value_range),
        **_stored_values(file),
    }
    if n and times.any():
        report |= {
            "first_frame_us": int(times[0]),
            "last_frame_us": int(times[-1]),
            "duration_s": _rounded((times[-1] - times[0]) / 1e6),
        }
    return report | {
        "source": info.source_name,
        "source_sha256": info.source_sha256,
        "source_hash": info.source_hash,
        "armseg_version": info.armseg_version,
        "parameters": info.parameters,
    }


def _stored_values(file: TensorFile) -> Report:
    """Smallest and largest finite value, share of zeros, number of values that are not finite.

    Values that are not finite are those of files that an older armseg wrote.
    """
    low, high, zeros, bad = math.inf, -math.inf, 0, 0
    for i in range(len(file)):
        frame = file.frame(i).astype(np.float32)
        good = np.isfinite(frame)
        bad += frame.size - int(good.sum())
        low = min(low, float(frame[good].min(initial=low)))
        high = max(high, float(frame[good].max(initial=high)))
        zeros += frame.size - int(np.count_nonzero(frame))
    return {
        "values": [_rounded(low), _rounded(high)] if len(file) else None,
        "zero_share": _rounded(zeros / max(1, file.frames.size)),
        "not_finite": bad,
    }


# --- events ----------------------------------------------------------------------------------------------


def _events(source: EventSource) -> Report:
    ordered = source.check_order()
    height, width = source.size
    per_pixel = np.zeros(height * width, np.int64)
    kept = positive = 0
    rates = _Rates(source.t_first_us, source.t_last_us)
    for events in source.chunks(CHUNK):
        kept += len(events)
        positive += int(np.count_nonzero(events.p))
        per_pixel += _pixel_counts(events, height, width)
        rates.add(events.t)
    duration = (source.t_last_us - source.t_first_us) / 1e6
    hottest = int(per_pixel.argmax())
    return {
        "size": f"{width}x{height}",
        "events": source.count,
        "first_us": source.t_first_us,
        "last_us": source.t_last_us,
        "duration_s": _rounded(duration),
        "events_per_s": _rounded(kept / duration) if duration else None,
        "peak_events_per_s": rates.peak,
        "positive_share": _rounded(positive / kept) if kept else None,
        "in_time_order": ordered,
        "steps_back": source.steps_back,
        "unusable_events": source.count - kept,
        "active_pixels": _rounded(float((per_pixel > 0).mean())),
        "hottest_pixel": {"x": hottest % width, "y": hottest // width, "events": int(per_pixel[hottest])},
        "notes": list(source.notes),
    }


def _pixel_counts(events: Events, height: int, width: int) -> np.ndarray:
    x, y = np.floor(events.x).astype(np.int64), np.floor(events.y).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # rectified events may leave the sensor
    return np.bincount((y * width + x)[inside], minlength=height * width)


class _Rates:
    """Events in bins of 10 ms (longer for recordings of more than a day, so that memory stays bounded)."""

    def __init__(self, first_us: int, last_us: int) -> None:
        self.first_us = first_us
        self.bin_us = max(_RATE_BIN_US, (last_us - first_us) // (1 << 23))
        self.counts = np.zeros((last_us - first_us) // self.bin_us + 1, np.int64)

    def add(self, t: np.ndarray) -> None:
        if len(t):
            index = np.clip((t - self.first_us) // self.bin_us, 0, len(self.counts) - 1)
            low = int(index.min())
            part = np.bincount(index - low)
            self.counts[low : low + len(part)] += part

    @property
    def peak(self) -> float | None:
        return _rounded(self.counts.max() * 1e6 / self.bin_us) if len(self.counts) > 1 else None


# --- pictures and clouds ---------------------------------------------------------------------------------


def _event_picture(picture: EventPicture) -> Report:
    return {
        "size": f"{picture.polarity.shape[1]}x{picture.polarity.shape[0]}",
        **_numbers("polarity", picture.polarity),
        "active_pixels": _rounded(float((picture.polarity != 0).mean())),
    }


def _event_moments(moments: EventMoments) -> Report:
    positive, negative = moments.count.sum(axis=(1, 2), dtype=np.float64)
    total = float(positive + negative)
    return {
        "size": f"{moments.count.shape[2]}x{moments.count.shape[1]}",
        "events": _rounded(total),  # floats: some exports scale the counts
        "positive_share": _rounded(float(positive) / total) if total else None,
        "active_pixels": _rounded(float((moments.count > 0).any(axis=0).mean())),
    }


def _light_field(field: LightField) -> Report:
    u, v, h, w, _ = field.views.shape
    return {
        "size": f"{w}x{h}",
        "views": f"{u}x{v}",
        "dtype": str(field.views.dtype),
        **_bits(int(field.views.max()), field.views.dtype),
    }


def _polarized(images: PolarizedImages) -> Report:
    shape = images.intensity.shape
    return {
        "size": f"{shape[2]}x{shape[1]}",
        "angles_deg": list(images.angles_deg),
        "color": images.intensity.ndim == 4,
        "saturated_share": _rounded(float(images.saturated.mean())),
        **_numbers("intensity", images.intensity),
    }


def _stokes(stokes: Stokes) -> Report:
    s0, s1, s2 = stokes.s
    dolp = np.hypot(s1, s2)[s0 > 0] / s0[s0 > 0]
    return {
        "size": f"{s0.shape[1]}x{s0.shape[0]}",
        "saturated_share": _rounded(float(stokes.saturated.mean())),
        **_numbers("s0", s0),
        "median_dolp": _rounded(float(np.median(dolp))) if dolp.size else None,
    }


def _thermal(thermal: Thermal) -> Report:
    report: Report = {
        "size": f"{thermal.values.shape[1]}x{thermal.values.shape[0]}",
        "unit": thermal.unit,
        "bit_depth": thermal.bit_depth,
        **_numbers("values", thermal.values),
    }
    if thermal.to_celsius is None:
        return report
    scale, offset = thermal.to_celsius
    degrees = thermal.values.astype(np.float64) * scale + offset
    counts = _numbers("counts", thermal.values)
    return report | {"unit": "celsius", **_numbers("values", degrees), "counts": counts["counts"]}


def _depth(depth: Depth) -> Report:
    known = depth.meters[depth.valid]
    return {
        "size": f"{depth.meters.shape[1]}x{depth.meters.shape[0]}",
        "unit": "m",
        "valid_share": _rounded(float(depth.valid.mean())),
        **_numbers("depth_m", known),
        "intrinsics": None if depth.intrinsics is None else depth.intrinsics.tolist(),
    }


def _relative_depth(depth: RelativeDepth) -> Report:
    return {
        "size": f"{depth.inverse.shape[1]}x{depth.inverse.shape[0]}",
        "unit": "none (relative inverse depth, 1 = nearest)",
        "valid_share": _rounded(float(depth.valid.mean())),
        **_numbers("relative_inverse_depth", depth.inverse[depth.valid]),
    }


def _bands(bands: Bands) -> Report:
    count, height, width = bands.values.shape
    return {
        "size": f"{width}x{height}",
        "bands": count,
        "dtype": str(bands.values.dtype),
        "valid_share": _rounded(float(bands.valid.mean())),
        **_numbers("values", bands.values[bands.valid]),
    }


def _hha(image: HhaImage) -> Report:
    known = image.values[:, image.values[0] > 0]
    names = ("disparity", "height_cm", "angle_deg_plus_38")
    report: Report = {
        "size": f"{image.values.shape[2]}x{image.values.shape[1]}",
        "valid_share": _rounded(known.shape[1] / max(1, image.values[0].size)),
    }
    for name, plane in zip(names, known, strict=True):
        report |= _numbers(name, plane)
    return report


def _cloud(cloud: PointCloud) -> Report:
    distance = np.linalg.norm(cloud.points, axis=1)
    return {
        "points": len(cloud.points),
        "unit": "m",
        **_numbers("distance_m", distance),
        **(_numbers("intensity", cloud.intensity) if cloud.has_intensity else {"intensity": None}),
    }


_DESCRIBE: dict[type, Callable[[Any], Report]] = {
    EventPicture: _event_picture,
    EventMoments: _event_moments,
    LightField: _light_field,
    PolarizedImages: _polarized,
    Stokes: _stokes,
    Thermal: _thermal,
    Depth: _depth,
    RelativeDepth: _relative_depth,
    Bands: _bands,
    HhaImage: _hha,
    PointCloud: _cloud,
}


def _numbers(name: str, values: np.ndarray) -> Report:
    """Smallest, median and largest finite value, and how many are not finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {name: None}
    low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    report: Report = {name: [_rounded(low), _rounded(middle), _rounded(high)]}
    lost = values.size - finite.size
    return report | ({f"{name}_not_finite": lost} if lost else {})


def _bits(largest: int, dtype: np.dtype) -> Report:
    return {"bit_depth": max(largest.bit_length(), 8) if dtype == np.uint16 else 8}


def _rounded(value: float) -> float:
    return float(f"{float(value):.6g}")
