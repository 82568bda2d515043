"""Pixels of a thermal frame that hold no measurement, and rows that hold none of it at all.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.files.image_headers import tiff_tags
from armseg_core.sensors.thermal.options import ThermalOptions
from armseg_core.sensors.thermal.units import ABSOLUTE_ZERO_C, UNITS

_GDAL_NODATA = 42113  # TIFF tag, text: the value that stands for no measurement
_BORDER_SHARE, _BORDER_PIXELS = 0.002, 16  # of the frame; fewer zeros at its edge are single dead pixels
_STEP_8_BIT = 8  # counts between 0 and the next value; a stretched scene uses nearly all of the first counts
_ZERO_K = 0.006  # of a count of 0.01 K and of rounding; no camera measures so near to absolute zero
# (H, W) with telemetry -> its rows at the bottom: FLIR Lepton 3 and 2, Boson, Tau 2 (their data sheets)
_TELEMETRY = {
    (122, 160): 2,
    (63, 80): 3,
    (514, 640): 2,
    (258, 320): 2,
    (513, 640): 1,
    (257, 336): 1,
    (257, 324): 1,
}
_MOST_TELEMETRY = 4  # rows


def cut_rows(frame: np.ndarray, path: Path, options: ThermalOptions) -> np.ndarray:
    """The frame (H, W) without `crop_bottom` rows, or without its telemetry.

    Telemetry is cut where the size is that of a camera with it; in a frame of another size it is only said.

    Raises:
        UsageError: no row is left.
    """
    if options.crop_bottom is not None:
        if options.crop_bottom >= len(frame):
            raise UsageError(
                f"cuts off {options.crop_bottom} rows",
                where="--crop-bottom",
                expected=f"fewer than the {len(frame)} of the frame",
            )
        return frame[: len(frame) - options.crop_bottom]
    rows = _telemetry_rows(frame)
    if not rows:
        return frame
    h, w = frame.shape
    if _TELEMETRY.get((h, w)) == rows:
        text = (
            f"the last {rows} rows are telemetry and cut off to {w}x{h - rows} (--crop-bottom 0 keeps them)"
        )
        frame = frame[:-rows]
    else:
        text = f"the last {rows} rows look like telemetry (--crop-bottom {rows} cuts them off)"
    warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=4)
    return frame


def _telemetry_rows(frame: np.ndarray) -> int:
    """How many rows at the bottom of a 16-bit frame hold status words: most lie outside the picture."""
    if frame.dtype != np.uint16 or len(frame) < 8 * _MOST_TELEMETRY:
        return 0
    picture = frame[:-_MOST_TELEMETRY]
    low, high = int(picture.min()), int(picture.max())
    rows = 0
    for row in frame[: -_MOST_TELEMETRY - 1 : -1]:
        is_outside = float(((row < low) | (row > high)).mean()) > 0.5
        if not is_outside or not row.any():  # rows of zeros are a border
            break
        rows += 1
    return rows


def without_nodata(frame: np.ndarray, path: Path, options: ThermalOptions) -> np.ndarray:
    """The frame as float32, NaN where it holds no measurement, and what was left out is said.

    No measurement: `nodata` and GDAL's own tag; anything at or below absolute zero, by the unit where one is
    given and in degrees Celsius otherwise; a border of zeros, where all else is far from zero.
    """
    values = frame.astype(np.float32)
    reasons: dict[str, np.ndarray] = {}
    for name, text in (("--nodata", options.nodata), ("its GDAL_NODATA", tiff_tags(path).get(_GDAL_NODATA))):
        number = _number(text)
        if number is not None:
            reasons[f"{number:g}, {name}"] = values == np.float32(number)
    reasons["below absolute zero"] = _below_absolute_zero(values, options)
    reasons["0 in a border"] = _zero_border(frame)
    for reason, missing in reasons.items():
        missing = missing & np.isfinite(values)
        if missing.any():
            values[missing] = np.nan
            text = f"{100 * missing.mean():.1f}% of the pixels hold no measurement ({reason})"
            warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=4)
    _doubt_border(frame, path, options)
    return values


def _number(value: float | str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _below_absolute_zero(values: np.ndarray, options: ThermalOptions) -> np.ndarray:
    scale, offset = options.to_celsius or UNITS["celsius"]
    degrees = values.astype(np.float64) * scale + offset
    with np.errstate(invalid="ignore"):
        below: np.ndarray = degrees <= ABSOLUTE_ZERO_C + _ZERO_K
    return below


def _zero_border(frame: np.ndarray) -> np.ndarray:
    """(H, W) bool: the fill of a registered or rotated frame of 16 bits or floats.

    Zeros that reach its edge, where all other values are farther from 0 than half of what they are apart.
    """
    import cv2

    zero, nothing = frame == 0, np.zeros(frame.shape, bool)
    others = frame[np.isfinite(frame) & ~zero]
    if frame.dtype == np.uint8 or zero.sum() < _BORDER_PIXELS or not others.size:
        return nothing
    low, high = float(others.min()), float(others.max())
    if low <= (high - low) / 2:
        return nothing
    _, regions = cv2.connectedComponents(zero.astype(np.uint8), connectivity=8)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    border: np.ndarray = np.isin(regions, np.unique(edge[edge > 0]))
    return border if border.sum() >= max(_BORDER_PIXELS, _BORDER_SHARE * border.size) else nothing


def _doubt_border(frame: np.ndarray, path: Path, options: ThermalOptions) -> None:
    """Whole rows or columns of zeros at the edge of an 8-bit frame may be cold or a fill: that is said.

    Where the other values come down to 0 step by step, they are cold.
    """
    if frame.dtype != np.uint8 or options.nodata is not None or not frame.any():
        return
    if frame[frame > 0].min() < _STEP_8_BIT:
        return
    sides = [frame[0], frame[-1], frame[:, 0], frame[:, -1]]
    if any(not side.any() for side in sides):
        share = f"{100 * float((frame == 0).mean()):.1f}%"
        text = f"whole rows or columns at its edge are 0 ({share} of all) and taken as cold (else --nodata 0)"
        warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=5)
