"""From columns of numbers to a checked point cloud: where it stands, how bright it is, its calibration.

Shape letters: N points.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from armseg_core.arrays import Calibration, PointCloud
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.sensors.lidar.calibration import find_calibration, read_calibration
from armseg_core.sensors.lidar.options import LidarOptions

FARTHEST_M = 2000.0  # no LiDAR of the field measures farther: numbers beyond are not meters
_INTENSITY = ("intensity", "scalar_intensity", "reflectance", "reflectivity", "i")
_UNITS_M = {"m": 1.0, "ft": 0.3048, "us-ft": 1200 / 3937}  # meters


def cloud_of(
    values: dict[str, np.ndarray], codes: dict[str, str], path: Path, options: LidarOptions
) -> PointCloud:
    """A cloud of named columns; the names may be in capitals.

    Args:
        values: name -> (N,). codes: name -> numpy code of its type in the file, such as "u2".

    Raises:
        FormatError: no x, y and z, or no finite point.
    """
    names = {name.lower(): name for name in reversed(values)}
    if not {"x", "y", "z"} <= set(names):
        raise FormatError(
            f"the points have the fields {', '.join(values) or 'none'}", where=path, expected="x, y and z"
        )
    xyz = np.stack([values[names[c]].astype(np.float64).reshape(-1) for c in "xyz"], axis=1)
    name = next((names[n] for n in names if n in _INTENSITY), None)
    intensity = None if name is None else unit_range(values[name], codes[name], path)
    return finish(xyz, intensity, path, options)


def unit_range(values: np.ndarray, code: str, path: Path) -> np.ndarray:
    """Intensity in [0, 1]: floats up to 1 as they are, bytes by 255, others by the bits of the greatest.

    Many sensors write 8 or 12 bits into a wider field; that is said. Beyond 16 bits by the greatest value.
    """
    values = np.nan_to_num(values.astype(np.float32).reshape(-1), nan=0, posinf=0, neginf=0)
    top = float(values.max(initial=0))
    if code == "u1" or (top <= 1 and code[0] == "f"):
        return np.clip(values / np.float32(255 if code == "u1" else 1), 0, 1)
    bits = max(8, int(top).bit_length())
    full = float(2**bits - 1) if bits <= 16 else top
    if top and (bits < 16 if code == "u2" else bits not in (8, 16)):
        text = f"no intensity above {top:g}: divided by {full:g}"
        warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=4)
    return np.clip(values / np.float32(full), 0, 1)


def finish(xyz: np.ndarray, intensity: np.ndarray | None, path: Path, options: LidarOptions) -> PointCloud:
    """The finite points in meters, near the origin, with the calibration found for them.

    Args:
        xyz: (N, 3) float, in `options.lidar_unit` ("auto": meters). intensity: (N,) in [0, 1], None when the
            file has none; all 0 counts as none.

    Raises:
        FormatError: no finite point. ArmsegError: a calibration that cannot be used.
    """
    good = np.isfinite(xyz).all(axis=1)
    if not good.any():
        raise FormatError("the cloud has no finite point", where=path)
    xyz = xyz[good] * _UNITS_M.get(options.lidar_unit, 1.0)
    center = _map_center(xyz)
    if center is not None:
        xyz = xyz - center
        moved = ", ".join(f"{-value:.0f}" for value in center)
        warnings.warn(ArmsegWarning(f"{path}: map coordinates, moved by {moved} m"), stacklevel=4)
    far = np.abs(xyz).max(axis=1) > FARTHEST_M
    if far.any() and center is None:
        text = (
            f"{far.mean():.1%} of the points are farther than {FARTHEST_M:g} m; are the coordinates meters?"
        )
        warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=4)
    if intensity is None or not intensity[good].any():
        text = "the cloud has no intensity: its channel is 0"
        warnings.warn(ArmsegWarning(f"{path}: {text}"), stacklevel=4)
        measured, strength = False, np.zeros(len(xyz), np.float32)
    else:
        measured, strength = True, np.ascontiguousarray(intensity[good])
    found = options.calibration or find_calibration(path)
    calibration = None if found is None else read_calibration(found, path, options.image_size)
    if calibration is not None and center is not None:
        calibration = _moved(calibration, center)
    points = np.ascontiguousarray(xyz, np.float32)
    return PointCloud(points, strength, calibration, has_intensity=measured)


def _map_center(xyz: np.ndarray) -> np.ndarray | None:
    """The middle of a cloud in map coordinates, in whole meters; None for one around its sensor.

    A sensor stands inside what it sees, or near by: map coordinates are farther from their origin than a
    LiDAR measures, and than the cloud is wide (nine of ten points count: strays say nothing).
    """
    center = np.median(xyz, axis=0)
    away = float(np.linalg.norm(center))
    extent = 2 * float(np.percentile(np.linalg.norm(xyz - center, axis=1), 90))
    return np.round(center) if away > max(FARTHEST_M, extent) else None


def _moved(calibration: Calibration, center: np.ndarray) -> Calibration:
    """The same camera for points from which `center` was taken away."""
    transform = calibration.lidar_to_camera.astype(np.float64).copy()
    transform[:3, 3] += transform[:3, :3] @ center
    return replace(calibration, lidar_to_camera=transform)
