"""The smallest valid data of every kind that readers return, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from event_files import arrays, random_events

from armseg_core.arrays import (
    Calibration,
    Depth,
    EventMoments,
    EventPicture,
    Events,
    HhaImage,
    LightField,
    PointCloud,
    PolarizedImages,
    RelativeDepth,
    Stokes,
    Thermal,
)
from armseg_core.sensors.event.columns import Columns
from armseg_core.sensors.event.geometry import Geometry
from armseg_core.sensors.event.streams import MemoryStream
from armseg_core.sensors.event.windows import EventWindow

SIZE = (12, 16)  # (H, W)
SPAN_US = 50_000


def _events() -> list[Any]:
    x, y, t, p = arrays(random_events(300, SIZE, end=SPAN_US - 1))
    x, y, p = x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)
    source = MemoryStream(Path("events"), Geometry(SIZE), Columns(x, y, t, p))
    one, none = slice(0, 1), slice(0, 0)
    moments = np.ones((2, *SIZE), np.float32)
    return [
        Events(x, y, t, p, SIZE),
        Events(x.astype(np.float32) - 0.25, y.astype(np.float32), t, p, SIZE),  # rectified
        EventWindow(source, 0, SPAN_US, 0, 300),
        Events(x[one], y[one], t[one], p[one], SIZE),
        Events(x[none], y[none], t[none], p[none], SIZE),
        EventPicture(np.linspace(-1, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)),
        EventMoments(3 * moments, 0.5 * moments, 0.1 * moments),
    ]


def _depth(rng: np.random.Generator) -> list[Any]:
    meters = rng.uniform(1, 20, SIZE).astype(np.float32)
    meters[:3, :3] = 0
    intrinsics = np.array([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]])
    nothing = np.zeros(SIZE, np.float32)
    return [
        Depth(meters, meters > 0, intrinsics),
        Depth(nothing, nothing > 0, intrinsics),
        RelativeDepth(meters / np.float32(20), meters > 0),
        HhaImage(rng.integers(1, 255, (3, *SIZE)).astype(np.uint8)),
    ]


def _lidar(rng: np.random.Generator) -> list[Any]:
    """A camera that looks along the z axis of the LiDAR."""
    camera = Calibration(np.array([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]), np.eye(4), SIZE)
    points = rng.uniform((-2, -2, 4), (2, 2, 20), (200, 3)).astype(np.float32)
    nothing = np.zeros((0, 3), np.float32)
    return [
        PointCloud(points, rng.uniform(0, 1, 200).astype(np.float32), camera),
        PointCloud(nothing, nothing[:, 0], camera),
    ]


def _polarization(rng: np.random.Generator) -> list[Any]:
    angles, whole = (0.0, 45.0, 90.0, 135.0), np.zeros(SIZE, bool)
    gray, color = (rng.uniform(0, 1, (4, *SIZE, *rest)).astype(np.float32) for rest in ((), (3,)))
    s1, s2 = rng.uniform(-0.5, 0.5, (2, *SIZE))
    return [
        PolarizedImages(gray, angles, whole),
        PolarizedImages(color, angles, whole),
        PolarizedImages(np.zeros_like(gray), angles, ~whole),
        Stokes(np.stack([np.ones(SIZE), s1, s2]).astype(np.float32), whole),
    ]


def valid_data() -> dict[str, list[Any]]:
    """Sensor -> data of every kind its readers return, ordinary first, then what is hardly there."""
    rng = np.random.default_rng(0)
    counts = rng.uniform(20_000, 30_000, SIZE).astype(np.float32)
    return {
        "event": _events(),
        "thermal": [
            Thermal(counts, "counts"),
            Thermal(counts / 1000, "celsius"),
            Thermal(0 * counts, "counts"),
        ],
        "depth": _depth(rng),
        "lidar": _lidar(rng),
        "polarization": _polarization(rng),
        "light_field": [
            LightField(rng.integers(0, 255, (3, 3, *SIZE, 3)).astype(np.uint8)),
            LightField(rng.integers(0, 65_535, (2, 4, *SIZE, 3)).astype(np.uint16)),
        ],
    }
