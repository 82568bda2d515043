"""A data set format from outside: `boxes.json` lists the ids of each split; pictures lie beside it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from armseg_core.data import ClassInfo, DataSet, Description

FILE_NAME = "boxes.json"


class Boxes(DataSet):
    """RGB, depth in millimeters, and masks that hold class indices."""

    title, layout = "boxes", FILE_NAME
    name = "boxes"
    classes = (ClassInfo("floor", (90, 90, 90)), ClassInfo("box", (200, 120, 40)))
    modalities = ("depth",)

    @classmethod
    def matches(cls, root: Path) -> bool:
        return (root / FILE_NAME).is_file()

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> Description:
        return replace(super().describe(root), splits=tuple(_read(Path(root))))

    def list_ids(self, split: str) -> list[str]:
        return _read(self.root)[split]

    def rgb_path(self, sample_id: str) -> Path:
        return self.root / f"{sample_id}_rgb.png"

    def label_path(self, sample_id: str) -> Path:
        return self.root / f"{sample_id}_mask.png"

    def sensor_path(self, sample_id: str, modality: str) -> Path:
        return self.root / f"{sample_id}_{modality}.png"

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        return {"depth_unit": "mm"}


def _read(root: Path) -> dict[str, list[str]]:
    return json.loads((root / FILE_NAME).read_text(encoding="utf-8"))


def write(root: Path, splits: dict[str, int], size: tuple[int, int] = (40, 48)) -> Path:
    """A data set of random pictures, (H, W) = size; the upper half of each is class 1 and nearer."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    ids = {split: [f"{split}{number}" for number in range(count)] for split, count in splits.items()}
    for sample_id in (each for split in ids.values() for each in split):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / f"{sample_id}_rgb.png")
        Image.fromarray(mask).save(root / f"{sample_id}_mask.png")
        depth = (4000 - 2000 * mask.astype(np.uint16)) + rng.integers(0, 50, size).astype(np.uint16)
        Image.fromarray(depth).save(root / f"{sample_id}_depth.png")
    (root / FILE_NAME).write_text(json.dumps(ids), encoding="utf-8")
    return root
