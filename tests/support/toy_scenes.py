"""Scenes whose class is readable in the depth map alone: RGB is noise, "far" lies at 6 m and "near" at 2
m."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

TOML = """format_version = 1
name = "{name}"
[[classes]]
name = "near"
color = [200, 80, 40]
[[classes]]
name = "far"
color = [40, 80, 200]
[rgb]
path = "rgb/{{id}}.png"
[label]
path = "label/{{id}}.png"
[modalities.depth]
path = "depth/{{id}}.png"
options = {{ depth_unit = "mm" }}
[splits]
{splits}
"""


def write_scenes(
    root: Path,
    splits: dict[str, int] | None = None,
    size: tuple[int, int] = (40, 48),
    seed: int = 0,
    without_depth: tuple[str, ...] = (),
    name: str = "scenes",
) -> Path:
    """A folder data set with raw 16-bit depth in millimeters. without_depth: ids that lack the sensor."""
    splits = splits or {"train": 12, "val": 3, "test": 4}
    rng = np.random.default_rng(seed)
    for kind in ("rgb", "label", "depth", "splits"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        ids = [f"{split}{i}" for i in range(count)]
        (root / "splits" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for sample_id in ids:
            write_scene(root, sample_id, size, rng, depth=sample_id not in without_depth)
    lines = "\n".join(f'{split} = "splits/{split}.txt"' for split in splits)
    (root / "dataset.toml").write_text(TOML.format(name=name, splits=lines))
    return root


def write_scene(
    root: Path, sample_id: str, size: tuple[int, int], rng: np.random.Generator, depth: bool = True
) -> None:
    label = np.zeros(size, np.uint8)
    h, w = size
    half = rng.integers(4)  # one half of the picture is far; which one is random
    label[
        (slice(h // 2), slice(h // 2, h), slice(h), slice(h))[half],
        (slice(w), slice(w), slice(w // 2), slice(w // 2, w))[half],
    ] = 1
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    cv2.imwrite(str(root / "rgb" / f"{sample_id}.png"), image)
    Image.fromarray(label).save(root / "label" / f"{sample_id}.png")
    if depth:
        meters = np.where(label, 6.0, 2.0) + rng.normal(0, 0.05, size)
        cv2.imwrite(str(root / "depth" / f"{sample_id}.png"), np.rint(meters * 1000).astype(np.uint16))
