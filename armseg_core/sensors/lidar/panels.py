"""Projected point clouds as pictures and panels."""

from __future__ import annotations

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.panels import distance_range, mapped, render_distance

LIDAR_MAP = "viridis_r"


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (3, H, W) as RGB: near is bright, no measurement gray."""
    return render_distance(frame[0], frame[2] > 0.5, LIDAR_MAP)


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """Projected depth and intensity; sparse points are drawn larger."""
    if info.channels != ("depth", "intensity", "valid"):
        return None
    frame = frame.astype(np.float32)
    meters, valid = frame[0], frame[2] > 0.5
    low, high = distance_range(meters, valid)
    shown = picture(frame)
    strength = mapped(np.where(valid, frame[1], np.nan), "inferno", "", "intensity")
    note = f"{int(valid.sum())} pixels hit ({100 * valid.mean():.1f}%)"
    brightness = strength.picture
    # free choices: a denser picture, or one enlarged anyway for being small, can be seen as it is
    if valid.mean() < 0.3 and valid.shape[1] >= 240:
        shown, brightness = (_grow_points(p, meters, valid) for p in (shown, brightness))
        note += ", drawn 3x3"
    return [
        Panel(shown, "depth", (LIDAR_MAP, low, high, "m", True), note=note),
        Panel(brightness, strength.caption, strength.bar),
    ]


def _grow_points(picture: np.ndarray, meters: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each LiDAR point drawn 3x3 (the nearest wins), so that sparse points can be seen."""
    far = np.where(valid, meters, np.inf).astype(np.float32)
    padded, (h, w) = np.pad(far, 1, constant_values=np.inf), far.shape
    shifts = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    nearest = np.argmin([padded[dy : dy + h, dx : dx + w] for dy, dx in shifts], axis=0)
    dy, dx = np.array(shifts).T[:, nearest]
    y, x = np.clip(np.mgrid[0:h, 0:w] + np.stack([dy, dx]) - 1, 0, np.array([h - 1, w - 1])[:, None, None])
    return np.where(valid[..., None], picture, picture[y, x])
