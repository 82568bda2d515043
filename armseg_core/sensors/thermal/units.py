"""What the numbers of a thermal frame mean: units, and which of them gives temperatures of this world."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from armseg_core.errors import ArmsegWarning

# degrees Celsius = values * scale + offset, by `thermal_unit`; 0 K is -273.15 degrees Celsius
UNITS: dict[str, tuple[float, float]] = {
    "celsius": (1.0, 0.0),
    "kelvin": (1.0, -273.15),
    "tlinear": (0.01, -273.15),  # FLIR Lepton TLinear, high resolution
    "decikelvin": (0.1, -273.15),  # FLIR Lepton TLinear, low resolution
    "tau": (0.04, -273.15),  # FLIR Tau 2 TLinear
}
ABSOLUTE_ZERO_C = -273.15
# What thermal cameras look at, in degrees Celsius: from a clear sky to engines. Within it at most one of the
# units above fits given counts.
_USUAL_C = (-60.0, 150.0)


def range_in(values: np.ndarray, scale: float, offset: float) -> tuple[float, float]:
    """1st and 99th percentile of the finite values in degrees Celsius."""
    low, high = np.percentile(values[np.isfinite(values)].astype(np.float64), [1, 99])
    return float(low * scale + offset), float(high * scale + offset)


def likely_unit(values: np.ndarray, is_float: bool) -> tuple[str, str] | None:
    """(unit, "-3.4 to 9.9 degrees Celsius") of the unit by which the values are usual temperatures.

    Args:
        values: (H, W), at least one of them finite. is_float: whole degrees are no measurement: degrees and
            kelvins are only looked for among floats.
    """
    for unit, (scale, offset) in UNITS.items():
        low, high = range_in(values, scale, offset)
        if _USUAL_C[0] <= low and high <= _USUAL_C[1] and (is_float or scale != 1):
            return unit, f"{low:.1f} to {high:.1f} degrees Celsius"
    return None


def doubt(values: np.ndarray, scale: float, offset: float, is_float: bool, path: Path) -> None:
    """Warn where the scale that was asked for gives temperatures that no camera looks at."""
    low, high = range_in(values, scale, offset)
    if _USUAL_C[0] <= (low + high) / 2 <= _USUAL_C[1]:
        return
    text = f"{path}: the frame is {low:.1f} to {high:.1f} degrees Celsius; is the unit right?"
    if likely := likely_unit(values, is_float):
        text += f" --thermal-unit {likely[0]} gives {likely[1]}"
    warnings.warn(ArmsegWarning(text), stacklevel=4)
