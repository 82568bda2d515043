"""Depth -> metric depth with validity, inverse depth, relative inverse depth, surface normals, HHA.

Camera axes: x right, y down, z forward. Shape letters: H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.arrays import Depth, Frame, HhaImage, RelativeDepth
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.resizing import resize_nearest
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.depth.units import relative as relative_depth
from armseg_core.sensors.representation import Representation

RELATIVE_CHANNELS = ("relative_inverse_depth", "valid")
NEAREST_M = 0.01  # inverse depth is capped at 1 / NEAREST_M = 100: nearer than any depth camera measures
# Gupta et al., ECCV 2014, and its published code: another value is another encoding
_DISPARITY_CM = 31000.0  # channel 0 = this / depth in cm
_MIN_CM = 100.0  # nearer depth is coded as 1 m
_ANGLE_SHIFT = 128 - 90  # channel 2 = angle in degrees + this
_NORMAL_RADIUS, _GRAVITY_RADIUS = 3, 10  # plane-fit windows of 7 and 21 pixels
_GRAVITY_STEPS = ((45.0, 5), (15.0, 5))  # (threshold in degrees, iterations)


def metric(data: Depth | RelativeDepth | HhaImage, options: DepthOptions) -> Frame:
    """(depth in m; valid 0 / 1; inverse depth in 1/m), 0 where invalid. Never interpolated."""
    depth, _ = _nearest(_as_depth(data, "metric"), options)
    valid = depth > 0
    inverse = np.divide(1, np.maximum(depth, NEAREST_M), out=np.zeros_like(depth), where=valid)
    frame = np.stack([depth, valid.astype(np.float32), inverse])
    return Frame(frame, ("depth", "valid", "inverse_depth"), ("m", "1", "1/m"), (0.0, 80.0))


def inverse(data: Depth | RelativeDepth | HhaImage, options: DepthOptions) -> Frame:
    """Inverse depth in 1/m, 0 where invalid."""
    if isinstance(data, RelativeDepth):
        raise _no_meters("inverse")
    frame = metric(data, options).values[2:]
    # 2 / m: things nearer than 0.5 m are rare
    return Frame(frame, ("inverse_depth",), ("1/m",), (0.0, 2.0))


def relative(data: Depth | RelativeDepth | HhaImage, options: DepthOptions) -> Frame:
    """(relative inverse depth in [0, 1], 1 = the nearest of the picture; valid 0 / 1), 0 where invalid.

    Of metric depth it is the inverse depth between its own ends. Never interpolated.
    """
    if not isinstance(data, RelativeDepth):
        depth = _as_depth(data, "relative")
        known = depth.valid & (depth.meters > 0)
        data = relative_depth(
            np.divide(1, depth.meters, out=np.zeros_like(depth.meters), where=known), "great"
        )
    frame = resize_nearest(np.stack([data.inverse, data.valid.astype(np.float32)]), options.size)
    return Frame(frame, RELATIVE_CHANNELS, ("1", "1"), (0.0, 1.0))


def model_tensor(frame: np.ndarray, channels: tuple[str, ...]) -> np.ndarray | None:
    """Relative inverse depth as the model's input: depth in meters is unknown and stays 0.

    None for the other representations.
    """
    if channels != RELATIVE_CHANNELS:
        return None
    inverse, valid = frame.astype(np.float32)
    return np.stack([np.zeros_like(inverse), valid, inverse])


def normals(data: Depth | RelativeDepth | HhaImage, options: DepthOptions) -> Frame:
    """Unit surface normals towards the camera, (3, H, W) float32; 0 where unknown.

    Least-squares plane through the valid pixels of a 7x7 window, as in HHA.

    Raises:
        UsageError: no intrinsics, or the input is HHA.
    """
    depth, camera = _with_camera(data, options, "normals")
    away = plane_normals(depth, camera, _NORMAL_RADIUS)
    return Frame(-away, ("nx", "ny", "nz"), ("1", "1", "1"), (-1.0, 1.0))


def hha(data: Depth | RelativeDepth | HhaImage, options: DepthOptions) -> Frame:
    """HHA, uint8 (3, H, W), 0 where unknown; HHA pictures pass unchanged.

    31000 / depth in cm (at least 1 m), height above the lowest point in cm, angle between the normal and
    gravity in degrees + 38 (floor 38, wall 128, ceiling 218).

    Raises:
        UsageError: no intrinsics.
    """
    names, units = ("disparity", "height", "angle"), ("31000/cm", "cm", "degree + 38")
    if isinstance(data, HhaImage):
        return Frame(resize_nearest(data.values, options.size), names, units, (0.0, 255.0))
    depth, camera = _with_camera(data, options, "hha")
    valid = depth > 0
    near = plane_normals(depth, camera, _NORMAL_RADIUS)
    gravity = gravity_direction(plane_normals(depth, camera, _GRAVITY_RADIUS))
    points = back_project(depth, camera)
    height = -np.tensordot(gravity, points, axes=1) * 100
    height -= height[valid].min() if valid.any() else 0
    angle = np.degrees(np.arccos(np.clip(np.tensordot(gravity, near, axes=1), -1, 1))) + _ANGLE_SHIFT
    disparity = _DISPARITY_CM / np.maximum(depth * 100, _MIN_CM)
    frame = np.stack([disparity, height, np.where(np.any(near != 0, axis=0), angle, 0)]) * valid
    return Frame(np.clip(np.rint(frame), 0, 255).astype(np.uint8), names, units, (0.0, 255.0))


def back_project(depth: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(H, W) meters -> (3, H, W) points in camera axes, float64."""
    h, w = depth.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    rays = np.stack([(x - camera[0, 2]) / camera[0, 0], (y - camera[1, 2]) / camera[1, 1], np.ones((h, w))])
    points: np.ndarray = rays * depth
    return points


def plane_normals(depth: np.ndarray, camera: np.ndarray, radius: int) -> np.ndarray:
    """Unit normals of the scene pointing away from the camera, (3, H, W) float32; 0 where unknown.

    A plane n X = 1 has inverse depth n (x', y', 1), linear in the pixel: 1/z = a (x - x0) + b (y - y0) + c is
    fitted by least squares to the valid pixels of a (2 radius + 1)^2 window (Gupta et al., ECCV 2014).
    """
    h, w = depth.shape
    valid = depth > 0
    weight = valid.astype(np.float64)
    inverse_z = np.divide(1.0, depth, out=np.zeros((h, w)), where=valid)
    y0, x0 = np.mgrid[0:h, 0:w].astype(np.float64)

    def total(values: np.ndarray) -> np.ndarray:
        import cv2

        side = 2 * radius + 1
        return cv2.boxFilter(
            values, cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
        )

    n, sx, sy = total(weight), total(weight * x0), total(weight * y0)
    # moments about the center of gravity of the valid pixels: then c separates from a and b
    mean = np.maximum(n, 1)
    mx, my = sx / mean, sy / mean
    xx = total(weight * x0 * x0) - sx * mx
    yy = total(weight * y0 * y0) - sy * my
    xy = total(weight * x0 * y0) - sx * my
    sz = total(inverse_z)
    xz, yz = total(inverse_z * x0) - mx * sz, total(inverse_z * y0) - my * sz
    determinant = xx * yy - xy * xy
    # three pixels that are not in one line have at least 1/3; less is rounding
    good = valid & (n >= 3) & (determinant > 1e-3)
    safe = np.where(good, determinant, 1)
    a, b = (xz * yy - yz * xy) / safe, (yz * xx - xz * xy) / safe
    c = sz / mean + a * (camera[0, 2] - mx) + b * (camera[1, 2] - my)  # at the principal point
    normal = np.stack([a * camera[0, 0], b * camera[1, 1], c])
    length = np.linalg.norm(normal, axis=0)
    good &= length > 0
    return np.where(good, normal / np.where(good, length, 1), 0).astype(np.float32)


def gravity_direction(normals: np.ndarray) -> np.ndarray:
    """Direction of gravity in camera axes, unit (3,), from normals (3, H, W); (0, 1, 0) without any normal.

    Gupta et al., CVPR 2013: floors and ceilings (normal within a threshold of the estimate) should be
    parallel to it, walls (within the threshold of perpendicular) perpendicular; the smallest
    eigenvector, 5 times at 45 degrees and 5 times at 15 degrees.
    """
    known = normals.reshape(3, -1).astype(np.float64)
    known = known[:, np.any(known != 0, axis=0)]
    gravity = np.array([0.0, 1.0, 0.0])
    for threshold, iterations in _GRAVITY_STEPS:
        for _ in range(iterations):
            cosine = np.abs(gravity @ known)
            floor = known[:, cosine > np.cos(np.radians(threshold))]
            wall = known[:, cosine < np.sin(np.radians(threshold))]
            if floor.shape[1] + wall.shape[1] == 0:
                return gravity
            axis = np.linalg.eigh(wall @ wall.T - floor @ floor.T)[1][:, 0]
            side = np.sign(gravity @ axis)
            gravity = axis * (side if side else 1.0)
    return gravity


def _no_meters(name: str) -> UsageError:
    return UsageError(
        "needs meters, and the depth is relative",
        where=f"--representation {name}",
        hint="--representation relative",
    )


def _as_depth(data: Depth | RelativeDepth | HhaImage, name: str) -> Depth:
    """Depth itself; of an HHA image the depth in its first channel (8 bit, nothing nearer than 1 m)."""
    if isinstance(data, RelativeDepth):
        raise _no_meters(name)
    if isinstance(data, Depth):
        return data
    warnings.warn(
        ArmsegWarning(
            "depth is taken from the first channel of HHA as 310 / value meters: 8-bit steps, "
            "and only true for the published constant"
        ),
        stacklevel=3,
    )
    code = data.values[0].astype(np.float32)
    meters = np.divide(_DISPARITY_CM / 100, code, out=np.zeros_like(code), where=code > 0)
    return Depth(meters, meters > 0)


def _with_camera(
    data: Depth | RelativeDepth | HhaImage, options: DepthOptions, name: str
) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, RelativeDepth):
        raise _no_meters(name)
    if isinstance(data, HhaImage):
        raise UsageError("needs depth, and the input is HHA", where=f"--representation {name}")
    depth, camera = _nearest(data, options)
    if camera is None:
        raise UsageError(
            "needs the camera's intrinsics",
            where=f"--representation {name}",
            expected="calib.json beside the file, or the option",
            hint="--intrinsics fx,fy,cx,cy",
        )
    return depth, camera


def _nearest(data: Depth, options: DepthOptions) -> tuple[np.ndarray, np.ndarray | None]:
    """Depth (0 where invalid) at `options.size` by the nearest pixel, and the intrinsics of that size."""
    depth = np.where(data.valid, data.meters, 0).astype(np.float32)
    h, w = depth.shape
    resized = resize_nearest(depth, options.size)
    if data.intrinsics is None or resized.shape == (h, w):
        return resized, data.intrinsics
    sx, sy = resized.shape[1] / w, resized.shape[0] / h
    # pixel centers at whole numbers: x' = (x + 1/2) s - 1/2
    scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return resized, scale @ data.intrinsics


DEPTH_REPRESENTATIONS: tuple[Representation, ...] = (
    Representation(
        "metric",
        "depth",
        "depth, validity and inverse depth",
        "meters as measured",
        metric,
    ),
    Representation("inverse", "depth", "inverse depth", "1 / z", inverse),
    Representation(
        "relative",
        "depth",
        "relative inverse depth and validity",
        "disparity or a network's depth without a unit, 1 = nearest",
        relative,
    ),
    Representation("normals", "depth", "surface normals", "plane fit of Gupta et al., ECCV 2014", normals),
    Representation("hha", "depth", "disparity, height, angle with gravity", "Gupta et al., ECCV 2014", hha),
)
