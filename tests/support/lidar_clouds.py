"""Point clouds and their camera for the LiDAR tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from armseg_core.arrays import PointCloud
from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = LidarOptions()
K = np.array([[50.0, 0, 20], [0, 60.0, 15], [0, 0, 1]])
SIZE = (30, 40)
AXES = np.array(
    [[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, 0.3], [0, 0, 0, 1]]
)  # x forward, z up -> camera

# KITTI, as numbers of one calibration file
ROTATION = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
RECTIFY = np.array([[np.cos(0.02), 0, np.sin(0.02)], [0, 1, 0], [-np.sin(0.02), 0, np.cos(0.02)]])
P2 = np.column_stack([K, K @ np.array([0.06, -0.002, 0.001])])  # K [I | t]
VELODYNE = np.column_stack([ROTATION, [0.01, -0.07, -0.27]])


def points(count=200, seed=0) -> np.ndarray:
    """(N, 4) float32 x, y, z, intensity around the sensor."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-20, 20, (count, 3)), rng.uniform(0, 1, (count, 1))], 1).astype(
        np.float32
    )


def read(path: Path, **options) -> PointCloud:
    return sniff(path, "lidar").read(path, LidarOptions(**options))


def check(cloud: PointCloud, table: np.ndarray, atol: float = 0) -> None:
    np.testing.assert_allclose(cloud.points, table[:, :3], atol=atol)
    np.testing.assert_allclose(cloud.intensity, table[:, 3], atol=max(atol, 1e-6))


def write_calibration(path: Path, **changes) -> Path:
    path.write_text(
        json.dumps({"intrinsics": K.tolist(), "lidar_to_camera": AXES.tolist(), "size": list(SIZE)} | changes)
    )
    return path


def numbers(name: str, matrix: np.ndarray) -> str:
    """One line of a KITTI calibration file."""
    return f"{name}: {' '.join(f'{v:.12e}' for v in matrix.ravel())}\n"
