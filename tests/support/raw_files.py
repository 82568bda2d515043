"""Small raw recordings for the tests of conversion, written without any code of armseg."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import hdf5plugin
import numpy as np

SIZE = (24, 32)  # (H, W)
SENSORS = ("event", "thermal", "depth", "lidar", "polarization", "light_field")


def events(
    path: Path,
    count: int = 2000,
    seed: int = 0,
    span_us: int = 200_000,
    t_offset: int = 1_000_000,
    size: tuple[int, int] = (480, 640),
) -> Path:
    """A DSEC events.h5: blosc, ms_to_idx, t_offset; times fill [0, span_us)."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, span_us, count)).astype(np.uint32)
    t[0], t[-1] = 0, span_us - 1
    columns = {
        "x": rng.integers(0, size[1], count).astype(np.uint16),
        "y": rng.integers(0, size[0], count).astype(np.uint16),
        "p": rng.integers(0, 2, count).astype(np.uint8),
        "t": t,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as f:
        for name, values in columns.items():
            f.create_dataset(f"events/{name}", data=values, **hdf5plugin.Blosc(cname="zstd"))
        f["ms_to_idx"] = np.searchsorted(t, np.arange(0, span_us // 1000 + 1) * 1000).astype(np.uint64)
        f["t_offset"] = np.int64(t_offset)
    return path


def depth(path: Path, seed: int = 0) -> Path:
    """A 16-bit PNG in millimeters with a hole."""
    values = np.random.default_rng(seed).integers(500, 20_000, SIZE).astype(np.uint16)
    values[:4, :4] = 0
    return _picture(path, values)


def thermal(path: Path, seed: int = 0) -> Path:
    """A 16-bit TIFF of raw counts."""
    return _picture(path, np.random.default_rng(seed).integers(20_000, 32_000, SIZE).astype(np.uint16))


def polarization(path: Path, seed: int = 0) -> Path:
    """A DoFP mosaic, 12 bits in 16, 90 45 / 135 0."""
    return _picture(path, np.random.default_rng(seed).integers(100, 3000, SIZE).astype(np.uint16))


def light_field(path: Path, seed: int = 0, grid: int = 3) -> Path:
    """A folder of grid x grid views named u_v.png, counted from 1."""
    rng = np.random.default_rng(seed)
    for u in range(grid):
        for v in range(grid):
            _picture(path / f"{u + 1}_{v + 1}.png", rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8))
    return path


def lidar(path: Path, seed: int = 0) -> Path:
    """A KITTI .bin with calib.json beside it: points in front of the camera."""
    rng = np.random.default_rng(seed)
    points = np.stack(
        [rng.uniform(-2, 2, 300), rng.uniform(-1, 1, 300), rng.uniform(4, 30, 300), rng.uniform(0, 1, 300)],
        axis=1,
    ).astype("<f4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.tobytes())
    h, w = SIZE
    (path.parent / "calib.json").write_text(
        json.dumps(
            {
                "intrinsics": [[30, 0, w / 2], [0, 30, h / 2], [0, 0, 1]],
                "lidar_to_camera": np.eye(4).tolist(),
                "size": [h, w],
            }
        )
    )
    return path


def rgb(path: Path, seed: int = 0) -> Path:
    return _picture(path, np.random.default_rng(seed).integers(0, 255, (*SIZE, 3)).astype(np.uint8))


def scene(folder: Path, seed: int = 0) -> dict[str, Path]:
    """One scene with every sensor; returns the recordings by sensor."""
    rgb(folder / "rgb.png", seed)
    _picture(folder / "label.png", np.random.default_rng(seed).integers(0, 4, SIZE).astype(np.uint8))
    (folder / "caption.txt").write_text("a street\n")
    (folder / "scene.json").write_text("{}")
    return {
        "event": events(folder / "events.h5", seed=seed),
        "thermal": thermal(folder / "thermal.tiff", seed),
        "depth": depth(folder / "depth.png", seed),
        "lidar": lidar(folder / "lidar.bin", seed),
        "polarization": polarization(folder / "polarization.png", seed),
        "light_field": light_field(folder / "light_field", seed),
    }


def _picture(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)
    return path
