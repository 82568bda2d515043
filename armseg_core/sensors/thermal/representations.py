"""Thermal frame -> one channel: percentile, minmax and clahe (relative), celsius (absolute), raw.

Relative scalings show structure, but equal values in two frames need not mean equal temperatures.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from armseg_core.arrays import Frame, Thermal
from armseg_core.errors import UsageError
from armseg_core.resizing import resize_picture
from armseg_core.sensors.representation import Representation
from armseg_core.sensors.thermal.options import ThermalOptions
from armseg_core.sensors.thermal.units import likely_unit


def percentile(frame: Thermal, options: ThermalOptions) -> Frame:
    """`low_percentile` -> 0, `high_percentile` -> 1, clipped. A constant frame gives zeros."""
    return _channel(_scaled(frame.values, options.low_percentile, options.high_percentile), options)


def minmax(frame: Thermal, options: ThermalOptions) -> Frame:
    """Smallest value -> 0, largest -> 1. A constant frame gives zeros."""
    return _channel(_scaled(frame.values, 0, 100), options)


def clahe(frame: Thermal, options: ThermalOptions) -> Frame:
    """Contrast-limited adaptive histogram equalization (Zuiderveld 1994), 256 levels, up to 8x8 tiles.

    A tile is at least 32x32 pixels and 65536 levels are not used: with a handful of pixels per level the
    contrast limit would either limit nothing or forbid everything.
    """
    import cv2

    scaled = _scaled(frame.values, 0, 100)
    if not scaled.any():
        return _channel(scaled, options)
    tiles = [min(8, max(1, side // 32)) for side in scaled.shape[::-1]]
    equalizer = cv2.createCLAHE(clipLimit=options.clip_limit, tileGridSize=tiles)
    equal = equalizer.apply(np.rint(scaled * 255).astype(np.uint8))
    return _channel(equal.astype(np.float32) / np.float32(255), options)


def celsius(frame: Thermal, options: ThermalOptions) -> Frame:
    """Degrees Celsius, float32; NaN and infinite values become the smallest finite one.

    Raises:
        UsageError: the frame is in counts and neither `thermal_unit` nor `scale` and `offset` say what
            they mean.
    """
    scale, offset = (1.0, 0.0) if frame.unit == "celsius" else options.to_celsius or _unknown(frame)
    degrees = (
        _finite(frame.values).astype(np.float64) * scale + offset
    )  # float64: 16 bits stay exact before rounding
    image = resize_picture(degrees.astype(np.float32), options.size)
    # free choice: a winter street to hot engines
    return Frame(image[None], ("celsius",), ("degree Celsius",), (-40.0, 150.0))


def _unknown(frame: Thermal) -> NoReturn:
    is_float = frame.bit_depth == 32
    likely = likely_unit(frame.values, is_float) if np.isfinite(frame.values).any() else None
    fits = f" (the values fit {likely[0]}: {likely[1]})" if likely and frame.bit_depth > 8 else ""
    raise UsageError(
        "the frame holds counts of unknown meaning",
        where="--representation celsius",
        expected=f"a unit, or scale and offset of the camera{fits}",
        hint=f"--thermal-unit {likely[0]}" if likely and fits else "--scale DEGREES --offset DEGREES",
    )


def raw(frame: Thermal, options: ThermalOptions) -> Frame:
    """Counts as a fraction of the largest count of the file's type; float frames keep their values."""
    if frame.unit == "counts" and frame.bit_depth in (8, 16):
        return _channel(_finite(frame.values) / np.float32(2**frame.bit_depth - 1), options)
    image = resize_picture(_finite(frame.values), options.size)
    unit = "degree Celsius" if frame.unit == "celsius" else "as stored"
    return Frame(image[None], ("value",), (unit,), (float(image.min()), float(image.max())))


def _finite(values: np.ndarray) -> np.ndarray:
    """NaN and infinite values replaced by the smallest finite one (0 when there is none)."""
    good = np.isfinite(values)
    if good.all():
        return values
    return np.where(good, values, values[good].min() if good.any() else 0).astype(np.float32)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    good = values[np.isfinite(values)]
    if not good.size:
        return np.zeros_like(values)
    bottom, top = np.percentile(good, [low, high])
    if bottom >= top:  # nearly constant: a few hot pixels are all the structure there is
        bottom, top = float(good.min()), float(good.max())
    if bottom >= top:
        return np.zeros_like(values)
    scaled: np.ndarray = np.clip((_finite(values).astype(np.float64) - bottom) / (top - bottom), 0, 1)
    return scaled.astype(np.float32)


def _channel(image: np.ndarray, options: ThermalOptions) -> Frame:
    frame = resize_picture(image.astype(np.float32, copy=False), options.size)[None]
    return Frame(frame, ("temperature",), ("fraction of range",), (0.0, 1.0))


THERMAL_REPRESENTATIONS: tuple[Representation, ...] = (
    Representation(
        "percentile",
        "thermal",
        "1st to 99th percentile to [0, 1]",
        "robust contrast stretch",
        percentile,
    ),
    Representation(
        "minmax",
        "thermal",
        "smallest to largest value to [0, 1]",
        "contrast stretch",
        minmax,
    ),
    Representation(
        "clahe",
        "thermal",
        "locally equalized contrast",
        "Zuiderveld, Graphics Gems IV, 1994",
        clahe,
    ),
    Representation("celsius", "thermal", "degrees Celsius", "radiometric scale of the camera", celsius),
    Representation("raw", "thermal", "counts / 65535", "as recorded", raw),
)
