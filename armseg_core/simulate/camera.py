"""Cameras of the simulator: ray directions, projection, image boxes of bodies.

World and camera axes: x right, y DOWN, z forward. Ray directions have camera-z = 1.

Shape letters: B camera positions, K bodies, H W image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Camera-to-world rotation (3, 3): yaw turns right, pitch turns down, roll clockwise; radians."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    r_yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    r_pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    r_roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    to_world: np.ndarray = r_yaw @ r_pitch @ r_roll
    return to_world


class Camera:
    """A pinhole camera: size (H, W), focal length in pixels, position (3,), camera-to-world rotation (3, 3).

    Pixel (row i, column j) has its center at image coordinates (j, i); the principal point is the image
    center.
    """

    def __init__(
        self, size: tuple[int, int], focal: float, position: npt.ArrayLike, to_world: npt.ArrayLike
    ) -> None:
        self.size, self.focal = size, float(focal)
        self.position = np.asarray(position, np.float64)
        self.to_world = np.asarray(to_world, np.float64)
        h, w = size
        self.cx, self.cy = (w - 1) / 2, (h - 1) / 2
        x = (np.arange(w) - self.cx) / focal
        y = (np.arange(h) - self.cy) / focal
        self._set_dirs(np.broadcast_to(x, (h, w)), np.broadcast_to(y[:, None], (h, w)))

    def _set_dirs(self, x: np.ndarray, y: np.ndarray) -> None:
        r = self.to_world
        self.dirs = np.stack([r[i, 0] * x + r[i, 1] * y + r[i, 2] for i in range(3)]).astype(
            np.float32
        )  # (3, H, W)

    @property
    def intrinsics(self) -> np.ndarray:
        """The matrix (3, 3) from camera axes to pixels."""
        return np.array([[self.focal, 0, self.cx], [0, self.focal, self.cy], [0, 0, 1.0]])

    def scaled(self, factor: int) -> Camera:
        """The same view with `factor` x `factor` samples inside every pixel."""
        h, w = self.size
        return Camera((h * factor, w * factor), self.focal * factor, self.position, self.to_world)

    def slopes(
        self, points: np.ndarray, origin: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World points (..., 3) -> x / z, y / z and z in camera axes."""
        p = (points - (self.position if origin is None else origin)) @ self.to_world
        z = p[..., 2]
        safe = np.where(np.abs(z) < 1e-6, 1e-6, z)
        return p[..., 0] / safe, p[..., 1] / safe, z

    def boxes(self, corners: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Image boxes (K, 4) int y0, y1, x0, x1 that contain the bodies with hull corners (K, 8, 3)."""
        h, w = self.size
        x, y, z = self.slopes(corners[None], origins[:, None, None])  # (B, K, 8)
        behind = (z < 0.1).any(axis=(0, 2))
        all_behind = (z < 0.1).all(axis=(0, 2))
        x0 = np.floor(x.min(axis=(0, 2)) * self.focal + self.cx)
        x1 = np.ceil(x.max(axis=(0, 2)) * self.focal + self.cx) + 1
        y0 = np.floor(y.min(axis=(0, 2)) * self.focal + self.cy)
        y1 = np.ceil(y.max(axis=(0, 2)) * self.focal + self.cy) + 1
        x0, x1 = np.where(behind, 0, x0), np.where(behind, w, x1)
        y0, y1 = np.where(behind, 0, y0), np.where(behind, h, y1)
        x1 = np.where(all_behind, 0, x1)
        return np.stack([y0.clip(0, h), y1.clip(0, h), x0.clip(0, w), x1.clip(0, w)], 1).astype(int)


class ScanCamera(Camera):
    """Ray directions of a scanning LiDAR: one row per beam (elevation), one column per azimuth.

    Elevation (up positive) and azimuth (right positive) in radians; the azimuth increases along the columns.
    """

    def __init__(
        self, elevation: np.ndarray, azimuth: np.ndarray, position: npt.ArrayLike, to_world: npt.ArrayLike
    ) -> None:
        self.size, self.focal = (len(elevation), len(azimuth)), len(azimuth) / (azimuth[-1] - azimuth[0])
        self.position, self.to_world = np.asarray(position, np.float64), np.asarray(to_world, np.float64)
        self.azimuth = azimuth
        x = np.broadcast_to(np.tan(azimuth), self.size)
        y = -np.tan(elevation)[:, None] / np.cos(azimuth)
        self._set_dirs(x, y)

    def boxes(self, corners: np.ndarray, origins: np.ndarray) -> np.ndarray:
        h, w = self.size
        x, _, z = self.slopes(corners[None], origins[:, None, None])
        behind = (z < 0.1).any(axis=(0, 2))
        x0 = np.searchsorted(self.azimuth, np.arctan(x.min(axis=(0, 2))), "left")
        x1 = np.searchsorted(self.azimuth, np.arctan(x.max(axis=(0, 2))), "right")
        x0, x1 = np.where(behind, 0, x0), np.where(behind, w, x1)
        x1 = np.where((z < 0.1).all(axis=(0, 2)), 0, x1)
        return np.stack([np.zeros_like(x0), np.full_like(x0, h), x0, x1], 1).astype(int)
