"""Point clouds and their camera for the LiDAR tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from armseg_core.arrays import PointCloud
from armseg_core.sensors.options import LidarOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = LidarOptions()
K = np.array([[50.0, 0, 20], [0, 60.0, 15], [0, 0, 1]])
SIZE = (30, 40)
AXES = np.array(
    [[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, 0.3], [0, 0, 0, 1]]
)  # x forward, z up -> camera


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
