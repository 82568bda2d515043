"""What the numbers of a depth picture mean: units of metric depth, and relative depth without any.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import numpy as np

from armseg_core.arrays import RelativeDepth
from armseg_core.errors import UsageError

UNIT_HINT = (
    "--depth-unit mm | cm | m | kitti256 | tum5000 | sunrgbd | kinect11 | carla | cityscapes | "
    "disparity256 | disparity | relative, or --depth-scale METERS_PER_COUNT"
)
# meters in one step; 256: KITTI depth (its development kit), 5000: TUM RGB-D (its file format page)
_SCALES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "kitti256": 1 / 256, "tum5000": 1 / 5000}
WIDE_UNITS = ("mm", "kitti256", "tum5000", "sunrgbd", "kinect11", "cityscapes", "disparity256")  # 16 bits
# The toolbox of NYU Depth V2 (camera_params.m): meters = 351.3 / (1092.5 - d) of the 11-bit disparity d of
# the first Kinect, whose driver writes 2047 where it has none.
_KINECT_A, _KINECT_B, KINECT_NONE = 351.3, 1092.5, 2047
# Robust ends of relative depth: single wrong matches of a stereo pair lie far outside the rest.
_ENDS_PERCENT = (0.5, 99.5)
# Shares of the valid values from which a unit is named as likely. Measured: 97 % multiples of 8 in SUN RGB-D,
# all multiples of 5 in TUM RGB-D; millimeters of the same cameras give 13 % and 20 %.
_LIKELY_SHARE = 0.95
_ENOUGH_VALUES = 20  # different ones; the few of a drawn picture are multiples of anything
# Byte order: neighbors of a measured depth differ little (NYU raw: by 11), of a swapped one by hundreds
# (388). A quarter is far from both.
_SWAPPED_RATIO = 0.25


def to_meters(
    values: np.ndarray,
    unit: str,
    baseline_m: float | None = None,
    fx: float | None = None,
    scale: float | None = None,
) -> np.ndarray:
    """Stored values -> meters, float32; 0 where invalid, not finite or not positive.

    Args:
        values: (H, W); for "carla" (H, W, 3 or 4) uint8 RGB.
        unit: mm, cm, m; kitti256 = v / 256 m; tum5000 = v / 5000 m; sunrgbd = 16 bits rotated right by
            3, mm, at most 8 m (SUN RGB-D toolbox); kinect11 = 11-bit disparity of the first Kinect (NYU raw);
            carla = (R + 256 G + 65536 B) / (2^24 - 1) km; cityscapes = (v - 1) / 256 px of disparity;
            disparity256 = v / 256 px (DSEC); disparity = px.
        baseline_m, fx: stereo baseline and focal length in pixels: depth = baseline fx / disparity.
        scale: meters of one count, in place of a unit.

    Raises:
        UsageError: a disparity unit without baseline or focal length; sunrgbd of other than 16-bit integers.
    """
    if scale is not None or unit in _SCALES:
        meters = values.astype(np.float64) * (_SCALES[unit] if scale is None else scale)
    elif unit == "sunrgbd":
        meters = _sunrgbd(values)
    elif unit == "kinect11":
        below = values.astype(np.float64) < _KINECT_B
        away = _KINECT_B - np.where(below, values, 0)
        meters = np.where(below & (values > 0), _KINECT_A / away, 0)
    elif unit == "carla":
        r, g, b = (values[..., i].astype(np.float64) for i in range(3))
        meters = (r + 256 * g + 65536 * b) / (2**24 - 1) * 1000
    else:
        meters = _of_disparity(values, unit, baseline_m, fx)
    with np.errstate(over="ignore"):
        out = meters.astype(np.float32)
    out[~(np.isfinite(out) & (out > 0))] = 0
    return out


def _sunrgbd(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise UsageError(
            "depth unit 'sunrgbd' is coded in the bits of 16-bit integers",
            where="--depth-unit",
            expected="uint16 values",
            hint=UNIT_HINT,
        )
    bits = values.astype(np.uint16)
    meters: np.ndarray = np.minimum(((bits >> 3) | (bits << 13)) / 1000.0, 8.0)
    return meters


def _of_disparity(values: np.ndarray, unit: str, baseline_m: float | None, fx: float | None) -> np.ndarray:
    if baseline_m is None or fx is None:
        raise UsageError(
            f"depth unit '{unit}' is a disparity",
            where="--depth-unit",
            expected="the stereo baseline and the focal length",
            hint="--baseline METERS --intrinsics fx,fy,cx,cy, or --depth-unit relative without them",
        )
    disparity = values.astype(np.float64)
    if unit == "cityscapes":
        disparity = np.where(values > 0, (disparity - 1) / 256, 0)
    elif unit == "disparity256":
        disparity /= 256
    positive = np.isfinite(disparity) & (disparity > 0)
    return np.divide(baseline_m * fx, disparity, out=np.zeros_like(disparity), where=positive)


def relative(values: np.ndarray, near: str) -> RelativeDepth:
    """Disparity without a calibration, or depth of one picture by a network, as relative inverse depth.

    The ends are those of the picture itself (99 % of the valid values lie between them): what is 1 in one
    picture need not be as near as what is 1 in another.

    Args:
        values: (H, W) numbers of any unit. Not finite is no value; 0 neither, unless there are negative ones.
        near: "great" when near things have great values (disparity, MiDaS), "small" when small ones.
    """
    valid = np.isfinite(values)
    if values.min(where=valid, initial=0) >= 0:
        valid &= values != 0
    inverse = np.zeros(values.shape, np.float32)
    if valid.any():
        known = values[valid].astype(np.float64)
        low, high = np.percentile(known, _ENDS_PERCENT, method="nearest")
        share = np.clip((known - low) / (high - low), 0, 1) if high > low else np.zeros_like(known)
        inverse[valid] = share if near == "great" else 1 - share
    return RelativeDepth(inverse, valid)


def likely_unit(values: np.ndarray) -> str:
    """Why the values are likely no millimeters, with the unit to give; "" when they may be."""
    if values.dtype != np.uint16:
        return ""
    known = values[values > 0]
    if np.unique(known).size < _ENOUGH_VALUES:
        return ""

    def share(step: int) -> float:
        return float((known % step == 0).mean())

    if share(8) >= _LIKELY_SHARE:
        percent = f"{100 * share(8):.0f}%"
        return f"{percent} of the values are multiples of 8, as in SUN RGB-D: --depth-unit sunrgbd is likely"
    if share(5) >= _LIKELY_SHARE and share(10) < _LIKELY_SHARE:
        return "the values are multiples of 5, as in TUM RGB-D (5000 a meter): --depth-unit tum5000 is likely"
    return ""


def swapped(values: np.ndarray) -> np.ndarray | None:
    """The values (H, W) with their bytes exchanged, where they surely were stored in that order; else None.

    Sure: neighbors then differ by less than a quarter. A picture that uses one of the two bytes only says
    nothing (steps of 256).
    """
    if values.dtype != np.uint16 or np.unique(values & 255).size < 2 or np.unique(values >> 8).size < 2:
        return None
    other = values.byteswap()

    def step(picture: np.ndarray) -> float:
        return (
            float(np.abs(np.diff(picture.astype(np.int32), axis=1)).mean()) if picture.shape[1] > 1 else 0.0
        )

    return other if step(other) < _SWAPPED_RATIO * step(values) else None


def is_kinect11(values: np.ndarray) -> bool:
    """Whether values are 11-bit disparities of the first Kinect: none above 2047, its "no value"."""
    return bool(values.max(initial=0) == KINECT_NONE)
