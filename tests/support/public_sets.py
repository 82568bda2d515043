"""Miniatures of the public data sets: every split that a set has, a sample or two each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import raw_files
from PIL import Image

from armseg_core.data.public import (
    DDD17,
    DELIVER,
    FMB,
    PST900,
    DSECSemantic,
    MCubeS,
    MFNet,
    NYUDepthV2,
    PublicDataSet,
    UrbanLF,
)

H, W = 12, 16

# split -> the first rows of the label of its first sample, as class indices; None where labels are withheld
Truth = dict[str, tuple[int, ...] | None]


# -- parts


def image(path: Path, size: tuple[int, int] = (H, W), channels: int = 3, dtype: type = np.uint8) -> None:
    """Writes a picture of random values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    order = {1: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    cv2.imwrite(str(path), pixels if channels == 1 else pixels[..., order])


def gray(path: Path, values: list[int], size: tuple[int, int] = (H, W)) -> None:
    """A gray PNG whose rows cycle through `values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.resize(np.array(values, np.uint8), size[0])
    Image.fromarray(np.repeat(rows[:, None], size[1], 1)).save(path)


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


# -- whole data sets


def mfnet(root: Path) -> Truth:
    """The original release: thermal in the fourth channel."""
    for split, name in (("train", "00001D"), ("val", "00002N"), ("test", "00002N")):
        image(root / f"images/{name}.png", channels=4)
        gray(root / f"labels/{name}.png", list(range(9)))
        text(root / f"{split}.txt", name)
    return dict.fromkeys(("train", "val", "test"), (0, 1, 2, 3, 4, 5, 6, 7, 8, 0))  # unlabeled counts


def pst900(root: Path, rgb: str = "rgb", thermal: str = "thermal", labels: str = "labels") -> Truth:
    for split, stem in (("train", "b"), ("train", "a"), ("test", "a")):
        image(root / split / rgb / f"{stem}.png")
        image(root / split / thermal / f"{stem}.png", channels=1)
        gray(root / split / labels / f"{stem}.png", [0, 4])
    return dict.fromkeys(("train", "test"), (0, 4, 0))  # background counts


def fmb(root: Path) -> Truth:
    return pst900(root, "Visible", "Infrared", "Label")


def nyu_depth_v2(root: Path) -> Truth:
    """Sample 1 has depth in millimeters, sample 2 only an HHA picture of 2.5 m."""
    for name in ("1", "2"):
        image(root / f"RGB/{name}.jpg")
        gray(root / f"Label/{name}.png", [0, 1, 40, 255])
    image(root / "Depth/1.png", channels=1, dtype=np.uint16)
    (root / "HHA").mkdir()
    hha = np.full((H, W, 3), (124, 60, 90), np.uint8)  # 31000 / 124 = 250 cm
    Image.fromarray(hha).save(root / "HHA/2.jpg", quality=100)
    text(root / "train.txt", "1", "2")
    text(root / "test.txt", "1")
    return dict.fromkeys(("train", "test"), (255, 0, 39, 255))


def mcubes(root: Path, angle: np.ndarray | None = None, doubled: bool = True) -> Truth:
    """angle: (H, 192 + W) radians of linear polarization. doubled: sine and cosine are those of twice it."""
    angle = np.random.default_rng(0).uniform(0.01, np.pi, (H, 192 + W)) if angle is None else angle
    factor, size = 2 if doubled else 1, angle.shape
    image(root / "polL_color/s_1.png", size, dtype=np.uint16)
    gray(root / "GT/s_1.png", [0, 19, 255], size)
    array(root / "polL_dolp/s_1.npy", (np.full(size, 0.4) - 0.5 * (angle == 0)).astype(np.float32))
    array(root / "polL_aolp_sin/s_1.npy", np.sin(factor * angle).astype(np.float32))
    array(root / "polL_aolp_cos/s_1.npy", np.cos(factor * angle).astype(np.float32))
    gray(root / "NIR_warped/s_1.png", [0, 51, 255], size)
    for split in ("train", "val", "test"):
        text(root / f"list_folder/{split}.txt", "s_1")
    return dict.fromkeys(("train", "val", "test"), (0, 19, 255))


def light_field(root: Path, scene: str) -> None:
    for u in range(1, 10):
        for v in range(1, 10):
            image(root / scene / f"{u}_{v}.png", channels=4 if u == 5 else 3)


def urbanlf(root: Path) -> Truth:
    """UrbanLF/Syn: labels are numbers."""
    label = np.zeros((H, W), np.int64)
    label[1:5, 0] = [1, 14, 255, 4]
    for split in ("train", "val", "test"):
        light_field(root, f"{split}/Image7")
        if split != "test":
            array(root / f"{split}/Image7/5_5_label.npy", label)
    return {"train": (255, 0, 13, 255, 3), "val": (255, 0, 13, 255, 3), "test": None}


def ddd17(root: Path) -> Truth:
    """At (2, 3) four positive events at 0.25 and 0.75 of the window, at (5, 6) two negative ones."""
    values = np.zeros((H, W, 6), np.float32)
    values[2, 3] = [4, 0, 0.5, 0.25, 0, 0]
    values[5, 6] = [0, 2, 0, 0, 1.0, 0]
    for split in ("train", "test"):
        image(root / f"images/{split}/rec1_export_3.png", channels=1)
        gray(root / f"labels/{split}/rec1_export_3.png", [0, 5, 255])
        array(root / f"events/{split}/rec1_export_3.npy", values)
    return dict.fromkeys(("train", "test"), (0, 5, 255))


def dsec(
    root: Path,
    sequence: str,
    labels: str = "semantic/11classes/data",
    times: str = "semantic/timestamps.txt",
    pictures: str = "images/left/ev_inf",
    count: int = 12,
) -> None:
    """A sequence with a label every 50 ms; its events fill the time up to the last one."""
    folder = root / sequence
    raw_files.events(folder / "events/left/events.h5", span_us=50_000 * count, t_offset=10**10)
    for number in range(count):
        image(folder / pictures / f"{number:06d}.png", (480, 640))
        gray(folder / labels / f"{number:06d}.png", [0, 10, 255], (440, 640))
    text(folder / times, *(str(10**10 + 50_000 * number) for number in range(count)))


def dsec_semantic(root: Path) -> Truth:
    for sequence in ("train/zurich_01", "test/zurich_02"):
        dsec(root, sequence, count=7)
    return dict.fromkeys(("train", "test"), (0, 10, 255))


def deliver(root: Path) -> Truth:
    """One positive event in the first pixel and one negative in the next."""
    events = np.zeros((H, W, 3), np.uint8)
    events[0, 0], events[0, 1] = [255, 0, 0], [0, 0, 255]
    label = np.zeros((H, W, 4), np.uint8)
    label[:4, :, 0] = np.array([0, 1, 25, 255])[:, None]
    label[..., 3] = 255
    for split in ("train", "val", "test"):
        place = f"cloud/{split}/MAP_1_point2/000010"
        image(root / f"img/{place}_rgb_front.png", channels=4)
        image(root / f"depth/{place}_depth_front.png")
        picture(root / f"event/{place}_event_front.png", events)
        picture(root / f"semantic/{place}_semantic_front.png", label)
    return dict.fromkeys(("train", "val", "test"), (255, 0, 24, 255))


MINIATURES: dict[type[PublicDataSet], Callable[[Path], Truth]] = {
    MFNet: mfnet,
    PST900: pst900,
    FMB: fmb,
    NYUDepthV2: nyu_depth_v2,
    MCubeS: mcubes,
    UrbanLF: urbanlf,
    DDD17: ddd17,
    DSECSemantic: dsec_semantic,
    DELIVER: deliver,
}
