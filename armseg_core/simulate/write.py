"""Raw files of one scene, in the formats of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.files.atomic import atomic_path
from armseg_core.files.hdf5 import blosc, create_hdf5
from armseg_core.files.json_text import to_json
from armseg_core.files.ownership import sealed
from armseg_core.simulate.classes import CLASSES


def label_png(path: Path, label: np.ndarray) -> None:
    """(H, W) uint8 class numbers as an indexed PNG with the class colors as palette."""
    from PIL import Image

    image = Image.fromarray(label)
    palette = [channel for c in CLASSES for channel in c.color]
    image.putpalette(palette + [0] * (768 - len(palette)))
    image.save(path, optimize=True)


def events_h5(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    p: np.ndarray,
    t_offset: int,
    size: tuple[int, int],
) -> None:
    """DSEC layout: events/{x, y, t, p}, ms_to_idx, t_offset, Blosc-zstd; the sensor size as attributes."""
    codec = blosc("zstd", 5)
    milliseconds = int(t[-1]) // 1000 + 1 if len(t) else 1
    ms_to_idx = np.searchsorted(t, np.arange(milliseconds, dtype=np.int64) * 1000, "left").astype(np.uint64)
    with create_hdf5(path) as file:
        for name, values, dtype in (("x", x, "u2"), ("y", y, "u2"), ("t", t, "u4"), ("p", p, "u1")):
            file.create_dataset(
                f"events/{name}", data=values.astype(dtype), chunks=(max(1, min(len(t), 1 << 16)),), **codec
            )
        file["ms_to_idx"] = ms_to_idx
        file["t_offset"] = np.int64(t_offset)
        file.attrs["height"], file.attrs["width"] = size


def text(path: Path, content: str) -> None:
    """Write a text file in UTF-8, with the folder it lies in."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")


def sealed_text(path: Path, content: str) -> None:
    """Write a text that has an empty seal, in UTF-8, its seal filled in (atomic)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(content.encode()))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    text(path, to_json(content, indent=1) + "\n")
