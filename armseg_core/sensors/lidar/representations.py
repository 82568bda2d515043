"""LiDAR points -> pixels: of the camera, of a map seen from above, of azimuth and elevation.

Shape letters: N points, H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.arrays import Calibration, Frame, PointCloud
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.sensors.lidar.calibration import PLACES
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.representation import Representation

# Free choices, made by eye: pixels of the longer side of a bird's-eye view, columns of a range view (a row of
# an HDL-64E has 1,000 to 2,000 points), between those of few points and of many.
_BEV_PIXELS, _RANGE_COLUMNS = (160, 512), (256, 1024)
_MOST_PIXELS = 8192  # a side of 8192 pixels is 0.8 GB of frame: a larger one is a mistake in `cell`
_LEAST_EXTENT_M = 1.0  # a single point still has a picture around it


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
            expected=f"{' or '.join(PLACES)} (from the folder of the cloud), as docs/formats.md describes",
            hint="--calibration FILE, or --representation bev",
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
    return _raster(cell, depth, depth, intensity[source], (h, w))


def _raster(
    cell: np.ndarray, key: np.ndarray, value: np.ndarray, intensity: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(3, H, W) float32 value, intensity and validity; of the points (N,) of a pixel the one of least key."""
    order = np.lexsort((key, cell))  # stable: of equal keys the first in the file
    cells, first = np.unique(cell[order], return_index=True)
    chosen = order[first]
    frame = np.zeros((3, size[0] * size[1]), np.float32)
    frame[0, cells] = value[chosen]
    frame[1, cells] = intensity[chosen]
    frame[2, cells] = 1
    return frame.reshape(3, *size)


def bev(cloud: PointCloud, options: LidarOptions) -> Frame:
    """(height in m, intensity, valid 0 / 1) of the highest point of each cell, seen from above.

    x to the right, y up. The picture holds the middle 98 % of the points; a cell is `options.cell` wide, or
    so that the picture is some 500 pixels wide (fewer for few points), or fills `options.size`.
    """
    good = np.isfinite(cloud.points).all(axis=1)
    points, intensity = cloud.points[good].astype(np.float64), cloud.intensity[good]
    low, high = np.percentile(points[:, :2], (1, 99), axis=0) if len(points) else np.zeros((2, 2))
    extent = np.maximum(high - low, _LEAST_EXTENT_M) * 1.04  # a margin of 2 % on each side
    pixels = np.clip(2 * np.sqrt(len(points)), *_BEV_PIXELS)
    if options.size is not None:
        cell = options.cell or float(max(extent[0] / options.size[1], extent[1] / options.size[0]))
        h, w = options.size
    else:
        cell = options.cell or float(extent.max() / pixels)
        w, h = (int(np.clip(np.ceil(side / cell), 1, _MOST_PIXELS)) for side in extent)
    x, y = ((points[:, :2] - (low + high) / 2) / cell).T
    column, row = np.floor(x + w / 2), np.floor(h / 2 - y)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    cells = row[inside].astype(np.int64) * w + column[inside].astype(np.int64)
    height = points[inside, 2]
    frame = _raster(cells, -height, height, intensity[inside], (h, w))
    return Frame(frame, ("height", "intensity", "valid"), ("m", "1", "1"), (-10.0, 50.0))


def range_view(cloud: PointCloud, options: LidarOptions) -> Frame:
    """(distance in m, intensity, valid 0 / 1) of the nearest point over azimuth and elevation.

    A column is an azimuth: forward (x) in the middle, left (y) to the left; a row an elevation, up is up.
    The rows hold the middle 99 % of the elevations.
    """
    distance = np.linalg.norm(cloud.points.astype(np.float64), axis=1)
    good = np.isfinite(distance) & (distance > 0)
    (x, y, z), distance = cloud.points[good].astype(np.float64).T, distance[good]
    columns = int(np.clip(4 * np.sqrt(len(distance)), *_RANGE_COLUMNS))
    h, w = options.size or (columns // 16, columns)
    elevation = np.arcsin(np.clip(z / distance, -1, 1))
    low, high = np.percentile(elevation, (0.5, 99.5)) if len(distance) else (0.0, 0.0)
    column = np.floor((0.5 - np.arctan2(y, x) / (2 * np.pi)) * w).astype(np.int64) % w
    row = np.floor((high - elevation) / max(high - low, 1e-6) * h)  # 1e-6 rad: no division by 0
    row = np.where(elevation == low, h - 1, row)
    inside = (row >= 0) & (row < h)
    cells = row[inside].astype(np.int64) * w + column[inside]
    frame = _raster(cells, distance[inside], distance[inside], cloud.intensity[good][inside], (h, w))
    return Frame(frame, ("range", "intensity", "valid"), ("m", "1", "1"), (0.0, 120.0))


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
    Representation("bev", "lidar", "bird's-eye view: height, intensity and validity", "highest point", bev),
    Representation(
        "range",
        "lidar",
        "distance, intensity and validity over azimuth and elevation",
        "spherical projection, nearest point",
        range_view,
    ),
)
