"""Projected point clouds as pictures and panels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from armseg_core.arrays import PointCloud
from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.panels import distance_range, mapped, render_distance

LIDAR_MAP = "viridis_r"


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (3, H, W) as RGB: near is bright, no measurement gray."""
    return render_distance(frame[0], frame[2] > 0.5, LIDAR_MAP)


def shown(cloud: PointCloud) -> tuple[str, ...]:
    """A cloud without a camera is drawn from above and over azimuth and elevation."""
    return ("bev", "range") if cloud.calibration is None else ("projected",)


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """What was measured (depth, height or range), and the intensity if any; sparse points are larger."""
    if info.channels[1:] != ("intensity", "valid"):
        return None
    frame = frame.astype(np.float32)
    measured, valid = frame[0], frame[2] > 0.5
    note = f"{int(valid.sum())} pixels hit ({100 * valid.mean():.1f}%)"
    if info.channels[0] == "height":
        first = mapped(
            np.where(valid, measured, np.nan), "viridis", "m", "height, seen from above: x right, y up"
        )
        order = -measured
    else:
        low, high = distance_range(measured, valid)
        caption = (
            "depth" if info.channels[0] == "depth" else "distance: forward in the middle, left to the left"
        )
        first, order = Panel(picture(frame), caption, (LIDAR_MAP, low, high, "m", True)), measured
    drawn = [first]
    if frame[1].any():
        drawn.append(mapped(np.where(valid, frame[1], np.nan), "inferno", "", "intensity"))
    else:
        note += ", no intensity"
    # free choices: a denser picture, or one enlarged anyway for being small, can be seen as it is
    if valid.mean() < 0.3 and valid.shape[1] >= 240:
        drawn = [replace(p, picture=_grow_points(p.picture, order, valid)) for p in drawn]
        note += ", drawn 3x3"
    if info.channels[0] == "range":  # a strip: drawn higher, a sixth of its width, to be seen
        times = max(1, round(valid.shape[1] / (6 * valid.shape[0])))
        drawn = [replace(p, picture=p.picture.repeat(times, axis=0)) for p in drawn]
    return [replace(drawn[0], note=note), *drawn[1:]]


def _grow_points(picture: np.ndarray, meters: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each LiDAR point drawn 3x3 (the nearest wins), so that sparse points can be seen."""
    far = np.where(valid, meters, np.inf).astype(np.float32)
    padded, (h, w) = np.pad(far, 1, constant_values=np.inf), far.shape
    shifts = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    nearest = np.argmin([padded[dy : dy + h, dx : dx + w] for dy, dx in shifts], axis=0)
    dy, dx = np.array(shifts).T[:, nearest]
    y, x = np.clip(np.mgrid[0:h, 0:w] + np.stack([dy, dx]) - 1, 0, np.array([h - 1, w - 1])[:, None, None])
    return np.where(valid[..., None], picture, picture[y, x])
