"""Folder data sets whose labels a test gives: noise as RGB and thermal, labels as any array or file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROAD, CAR = (128, 64, 128), (0, 0, 142)
SIZE = (48, 64)
SPLITS = {"train": "abc", "val": "d", "test": "e"}


def write_labeled(
    root: Path,
    label: Callable[[int], np.ndarray],
    *,
    extra: str = "",
    suffix: str = "png",
    classes: tuple[str, ...] = ("road", "car"),
) -> Path:
    """Samples a, b, c (train), d (val), e (test). label: sample number -> (H, W) or RGB (H, W, 3). extra:
    lines under [label]."""
    rng = np.random.default_rng(0)
    colors = dict(zip(("road", "car"), (ROAD, CAR), strict=True))
    lines = ["format_version = 1", 'name = "labeled"']
    for name in classes:
        lines += ["[[classes]]", f'name = "{name}"', f"color = {list(colors[name])}"]
    lines += ["[rgb]", 'path = "rgb/{id}.png"', "[label]", f'path = "mask/{{id}}.{suffix}"']
    lines += [extra] if extra else []
    lines += ["[modalities.thermal]", 'path = "thermal/{id}.png"', "[splits]"]
    lines += [f'{split} = "{split}.txt"' for split in SPLITS]
    for folder in ("rgb", "mask", "thermal"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dataset.toml").write_text("\n".join(lines) + "\n")
    for split, ids in SPLITS.items():
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
    for number, sample_id in enumerate("".join(SPLITS.values())):
        cv2.imwrite(str(root / f"rgb/{sample_id}.png"), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        cv2.imwrite(str(root / f"thermal/{sample_id}.png"), rng.integers(0, 255, SIZE, np.uint8))
        picture = label(number)
        cv2.imwrite(
            str(root / f"mask/{sample_id}.{suffix}"), picture[..., ::-1] if picture.ndim == 3 else picture
        )
    return root


def car_mask(number: int = 0) -> np.ndarray:
    """(H, W) bool: a quarter or less of the picture."""
    mask = np.zeros(SIZE, bool)
    mask[12:36, 8 + number : 40] = True
    return mask


def painted(number: int, car: tuple[int, int, int] = CAR) -> np.ndarray:
    """(H, W, 3) uint8: a car on a road."""
    picture = np.empty((*SIZE, 3), np.uint8)
    picture[:] = ROAD
    picture[car_mask(number)] = car
    return picture
