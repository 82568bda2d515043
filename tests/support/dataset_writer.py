"""Writes small folder data sets for tests: real PNG files, sensors as sensor-tensor files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.sensors.modalities import MODALITIES

CLASSES = (("ground", (128, 64, 128)), ("car", (0, 0, 142)), ("person", (220, 20, 60)))


def write_folder_dataset(
    root: Path,
    *,
    layout: str = "scene",
    modalities: tuple[str, ...] = ("depth", "event"),
    splits: dict[str, int] | None = None,
    size: tuple[int, int] = (24, 32),
    captions: bool = True,
    extra_toml: str = "",
    label_extra: str = "",
) -> Path:
    """A data set in one of the two layouts: 'scene' ({id}/rgb.png) or 'kind' (rgb/{id}.png).

    Sample number n (over all splits) has label value (row + n) % 3 at each pixel and 255 in the corner.
    """
    rng = np.random.default_rng(0)
    splits = splits or {"train": 4, "val": 2, "test": 2}
    number = 0
    for split, count in splits.items():
        ids = [f"{number + i:04d}" for i in range(count)]
        (root / "splits").mkdir(parents=True, exist_ok=True)
        (root / f"splits/{split}.txt").write_text("\n".join(ids) + "\n")
        for sample_id in ids:
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            write_rgb(root / place(layout, "rgb", sample_id, "png"), image)
            write_label(root / place(layout, "label", sample_id, "png"), label_of(number, size))
            for name in modalities:
                write_tensor(
                    root / place(layout, name, sample_id, "h5"),
                    name,
                    rng.random((MODALITIES[name].num_channels, *size), np.float32),
                )
            if captions:
                file = root / place(layout, "caption", sample_id, "txt")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"a street, scene {number}\n")
            number += 1
    write_toml(root, layout, modalities, tuple(splits), captions, extra_toml, label_extra)
    return root


def place(layout: str, kind: str, sample_id: str, suffix: str) -> str:
    return f"{sample_id}/{kind}.{suffix}" if layout == "scene" else f"{kind}/{sample_id}.{suffix}"


def label_of(number: int, size: tuple[int, int]) -> np.ndarray:
    label = np.broadcast_to((np.arange(size[0])[:, None] + number) % 3, size).astype(np.uint8)
    label[0, 0] = 255
    return label


def write_toml(
    root: Path,
    layout: str,
    modalities: tuple[str, ...],
    splits: tuple[str, ...],
    captions: bool,
    extra: str,
    label_extra: str,
) -> None:
    lines = ["format_version = 1", 'name = "toy"', "ignore_index = 255"]
    for name, color in CLASSES:
        lines += ["[[classes]]", f'name = "{name}"', f"color = {list(color)}"]
    kinds = [("rgb", "png"), ("label", "png")] + ([("caption", "txt")] if captions else [])
    for kind, suffix in kinds:
        lines += [f"[{kind}]", f'path = "{place(layout, kind, "{id}", suffix)}"']
        if kind == "label" and label_extra:
            lines.append(label_extra)
    for name in modalities:
        lines += [f"[modalities.{name}]", f'path = "{place(layout, name, "{id}", "h5")}"']
    lines += ["[splits]"] + [f'{split} = "splits/{split}.txt"' for split in splits]
    (root / "dataset.toml").write_text("\n".join(lines) + "\n" + extra)


def write_rgb(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(path)


def write_label(path: Path, label: np.ndarray) -> None:
    """An indexed PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label)
    palette = [channel for _, color in CLASSES for channel in color]
    image.putpalette(palette + [0] * (768 - len(palette)))  # all 256 entries: fewer would cut the values
    image.save(path)


def write_tensor(path: Path, modality: str, frame: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    row = MODALITIES[modality]
    info = TensorInfo(modality, row.representation, row.channels, ("1",) * row.num_channels, row.value_range)
    SensorTensor(frame[None].astype(np.float32), np.zeros(1, np.int64), info).save(path)
