"""LiDAR points -> the camera's pixels: depth, intensity and validity.

Shape letters: N points, H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.arrays import Calibration, Frame, PointCloud
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.representation import Representation


def projected(cloud: PointCloud, options: LidarOptions) -> Frame:
    """(depth in m, intensity, valid 0 / 1) of the nearest point of each pixel; nothing is interpolated.

    With `options.size` the points are projected into a camera of that size, so that none is lost to resizing.

    Raises:
        UsageError: the cloud has no calibration.
    """
    if cloud.calibration is None:
        raise UsageError(
            "the point cloud has no calibration to a camera",
            where="--representation projected",
            expected="calib.json or a KITTI calib.txt beside it",
            hint="--calibration FILE",
        )
    calibration = scaled_calibration(cloud.calibration, options.size or cloud.calibration.size)
    frame = project(cloud.points, cloud.intensity, calibration)
    if not frame[2].any():
        warnings.warn(
            ArmsegWarning(
                "no point of the cloud falls into the picture: is this the calibration of this camera?"
            ),
            stacklevel=2,
        )
    return Frame(frame, ("depth", "intensity", "valid"), ("m", "1", "1"), (0.0, 120.0))


def project(points: np.ndarray, intensity: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(3, H, W) float32: depth z in m, intensity, valid.

    P = K [R|t] X; points with z > 0 whose nearest pixel is inside the picture are kept, and the nearest
    point wins (of equal depths the first in the file).
    """
    h, w = calibration.size
    transform = calibration.lidar_to_camera.astype(np.float64)
    camera = points.astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]
    ahead = np.flatnonzero(camera[:, 2] > 0)
    x, y, z = (camera[ahead] @ calibration.intrinsics.astype(np.float64).T).T
    depth = camera[ahead, 2]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        column, row = np.floor(x / z + 0.5), np.floor(y / z + 0.5)  # pixel centers at whole numbers
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    cell = row[inside].astype(np.int64) * w + column[inside].astype(np.int64)
    depth, source = depth[inside], ahead[inside]
    order = np.lexsort((source, depth, cell))  # by pixel, then nearest first
    cells, first = np.unique(cell[order], return_index=True)
    nearest = order[first]
    frame = np.zeros((3, h * w), np.float32)
    frame[0, cells] = depth[nearest]
    frame[1, cells] = intensity[source[nearest]]
    frame[2, cells] = 1
    return frame.reshape(3, h, w)


def scaled_calibration(calibration: Calibration, size: tuple[int, int]) -> Calibration:
    """The same camera with another picture size (H, W)."""
    if calibration.size == size:
        return calibration
    sy, sx = size[0] / calibration.size[0], size[1] / calibration.size[1]
    # pixel centers at whole numbers: x' = (x + 1/2) s - 1/2
    scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return Calibration(scale @ calibration.intrinsics, calibration.lidar_to_camera, size)


LIDAR_REPRESENTATIONS: tuple[Representation, ...] = (
    Representation(
        "projected",
        "lidar",
        "depth, intensity and validity in the camera",
        "P = K [R|t] X, nearest point",
        projected,
    ),
)
