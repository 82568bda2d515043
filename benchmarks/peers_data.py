"""Data of the yardstick: the tasks, their arrays, and batches that are the same for every model.

Cropping and flipping are this file's own code, so that a change of armseg's augmentation leaves the batches alone.
Shape letters: B batch, C channels, H image rows, W columns.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from armseg_core.data import describe, open_dataset
from armseg_core.learning.augment import jitter
from armseg_core.resizing import resize_image, resize_model_tensor, resize_nearest
from armseg_core.sensors.modalities import get_modality
from armseg_core.simulate.classes import NAMES
from armseg_core.simulate.dataset import SIMULATOR_VERSION, simulate

BATCH = 8
IGNORE = 255
ZOOM = (0.75, 1.5)
# split -> (seed, scenes); the seeds are used nowhere else
SCENES = {"train": (90001, 300), "val": (90002, 40), "test": (90003, 80)}
SCENE_SIZE = (128, 160)
VAL_SHARE = 0.2  # of the training list of a real set, its end: whole blocks of neighboring pictures

# tiles of whole places (found by identical elevation windows), 18 of 92
WATER_VAL = (193, 198, 208, 215, 226, 227, 238, 260, 271, 275, 277, 279, 286, 291, 297, 300, 301, 305)
# value of a picture that becomes 1: reflectance and elevation have no natural end
FULL_SCALE = {"nir": 1e4, "swir": 1e4, "dem": 1e3}


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        name: "sim/thermal", "real/crack": group and name.
        classes: names, in label order.
        sensors: beside RGB, in the order in which they are concatenated.
        crop: (H, W) of the training crops, in pixels of the working resolution.
        folder, label: of a real set. codes: stored label value of each class.
        half: pictures are worked on at half their resolution; figures are always at full resolution.
        holes: single-channel sensors in which 0 means no measurement: a second channel says where there is one.
        val: ids of the validation part; without, the end of the training list.
    """

    name: str
    classes: tuple[str, ...]
    sensors: tuple[str, ...]
    crop: tuple[int, int]
    folder: str = ""
    label: str = "label"
    codes: tuple[int, ...] = ()
    half: bool = False
    holes: tuple[str, ...] = ()
    val: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        return not self.folder

    @property
    def slug(self) -> str:
        """The name in file names."""
        return self.name.replace("/", "-")

    def resample(self, sensor: str, tensor: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A sensor's tensor (C, H, W) -> (C, *size), by the sensor's rule."""
        if self.simulated:
            return resize_model_tensor(tensor, get_modality(sensor), size)
        return resize_image(tensor, size)

    def mirror(self, sensor: str, tensor: np.ndarray) -> np.ndarray:
        """A sensor's tensor flipped left to right; channels of an angle change sign."""
        flipped = tensor[:, :, ::-1].copy()
        if self.simulated:
            row = get_modality(sensor)
            for index, name in enumerate(row.channels):
                if name in row.flip_negates:
                    flipped[index] *= -1
        return flipped


_SIM = {
    f"sim/{sensor}": Task(f"sim/{sensor}", NAMES, (sensor,), (96, 128))
    for sensor in ("thermal", "depth", "event", "polarization", "light_field")
}
_WATER = "water_rgb_nir_swir_dem"
_LAND = ("tree", "shrub", "grass", "crop", "built-up", "bare ground", "snow", "water", "wetland", "moss")
_REAL = (
    Task(
        "real/crack",
        ("background", "crack"),
        ("thermal", "depth"),
        (160, 160),
        "crack_rgb_thermal_depth",
        codes=(0, 1),
        half=True,
    ),
    Task(
        "real/water",
        ("background", "water"),
        ("nir", "swir", "dem"),
        (128, 128),
        _WATER,
        codes=(0, 1),
        val=tuple(map(str, WATER_VAL)),
    ),
    Task(
        "real/landcover",
        _LAND,
        ("nir", "swir", "dem"),
        (128, 128),
        _WATER,
        label="label_landcover",
        codes=tuple(range(10, 101, 10)),
        val=tuple(map(str, WATER_VAL)),
    ),
    Task(
        "real/flood",
        ("background", "flood"),
        ("sar", "sar_before"),
        (160, 160),
        "flood_rgb_sar",
        codes=(0, 255),
    ),
    Task(
        "real/potholes",
        ("road", "pothole"),
        ("disparity",),
        (128, 192),
        "potholes",
        codes=(0, 1),
        holes=("disparity",),
    ),
    Task(
        "real/furrow",
        ("background", "furrow"),
        ("depth",),
        (128, 192),
        "furrow_rgb_depth",
        codes=(0, 1),
        half=True,
        holes=("depth",),
    ),
    Task("real/pipe", ("sound", "pit", "crack"), ("depth",), (96, 160), "pipe_rgb_depth", codes=(0, 1, 2)),
)
TASKS: dict[str, Task] = _SIM | {task.name: task for task in _REAL}


@dataclass(frozen=True)
class Item:
    """One picture at working resolution: rgb (3, H, W) in [0, 1], sensors (C, H, W), all float32.

    label: (H, W) uint8 at working resolution, target: the same at full resolution.
    """

    rgb: np.ndarray
    sensors: dict[str, np.ndarray]
    label: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Data:
    """The parts of a task and the mean and deviation (C,) of every input over the training part."""

    task: Task
    train: list[Item]
    val: list[Item]
    test: list[Item]
    statistics: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @functools.cached_property
    def channels(self) -> dict[str, int]:
        """Sensor -> number of channels."""
        return {name: len(self.train[0].sensors[name]) for name in self.task.sensors}

    def digest(self, seed: int) -> str:
        """A name for what a model of that seed sees first and is measured on."""
        rgb, sensors, label = batch(self.train, self.task, seed, 0)
        parts = [
            rgb,
            label,
            *sensors.values(),
            *(torch.from_numpy(i.target) for i in (*self.val, *self.test)),
        ]
        whole = hashlib.sha256()
        for part in parts:
            whole.update(part.contiguous().numpy().tobytes())
        return whole.hexdigest()[:16]


def load(task: Task, work: Path, labelled: Path | None) -> Data:
    """Read a task.

    Args:
        work: folder of simulated scenes and of the arrays made from them.
        labelled: folder of the real sets.

    Raises:
        SystemExit: the real sets are not there.
    """
    parts = _simulated(task, work) if task.simulated else _real(task, labelled)
    data = Data(task, *parts)
    for name in ("rgb", *task.sensors):
        data.statistics[name] = _statistics([i.rgb if name == "rgb" else i.sensors[name] for i in data.train])
    return data


def _statistics(tensors: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pixels = sum(t[0].size for t in tensors)
    mean = sum(t.sum((1, 2), dtype=np.float64) for t in tensors) / pixels
    square = sum(np.square(t, dtype=np.float64).sum((1, 2)) for t in tensors) / pixels
    return mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)


# -- simulated scenes


def prepare(work: Path) -> Path:
    """Simulate the scenes and convert every sensor once; returns the folder of the arrays."""
    folder = work / f"arrays-v{SIMULATOR_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # a second process waits for the first one's arrays
        _prepare(work, folder)
    return folder


def _prepare(work: Path, folder: Path) -> None:
    for split, (seed, count) in SCENES.items():
        if (folder / split / "label.npy").exists():
            continue
        scenes = work / f"scenes-v{SIMULATOR_VERSION}" / split
        simulate(scenes, count, seed, SCENE_SIZE, splits=(0.0, 0.0, 1.0), progress=False)
        # converted frames are kept one by one: a preparation that is cut off goes on
        dataset = open_dataset(describe(scenes), "test", cache_dir=work / "tensors")
        samples = [dataset.load(i) for i in range(len(dataset))]
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name in dataset.selected:
            np.save(folder / split / f"{name}.npy", np.stack([s.sensors[name] for s in samples]))
        np.save(folder / split / "rgb.npy", np.stack([s.rgb for s in samples]))
        labels = np.stack([s.label for s in samples if s.label is not None]).astype(np.uint8)
        unfinished = folder / split / "unfinished.npy"
        np.save(unfinished, labels)
        os.replace(unfinished, folder / split / "label.npy")  # last: the mark of a whole folder


def _simulated(task: Task, work: Path) -> list[list[Item]]:
    folder = prepare(work)
    parts = []
    for split in SCENES:
        arrays = {n: np.load(folder / split / f"{n}.npy", "r") for n in ("rgb", "label", *task.sensors)}
        label = arrays.pop("label")
        parts.append(
            [
                Item(arrays["rgb"][i], {s: arrays[s][i] for s in task.sensors}, label[i], label[i])
                for i in range(len(label))
            ]
        )
    return parts


# -- real sets


def find_labelled(given: Path | None = None) -> Path | None:
    """The folder of the real sets: as given, ARMSEG_LABELLED, or shared/data/labelled beside the checkout."""
    if given or "ARMSEG_LABELLED" in os.environ:
        return given or Path(os.environ["ARMSEG_LABELLED"])
    beside = (parent / "shared" / "data" / "labelled" for parent in Path(__file__).resolve().parents)
    return next((folder for folder in beside if folder.is_dir()), None)


def _real(task: Task, labelled: Path | None) -> list[list[Item]]:
    if labelled is None:
        raise SystemExit("the labelled real sets are not here: --labelled FOLDER")
    folder = labelled / task.folder
    train, test = ((folder / "splits" / f"{s}.txt").read_text().split() for s in ("train", "test"))
    val = list(task.val) or train[-round(VAL_SHARE * len(train)) :]
    return [[_item(task, folder, i) for i in ids] for ids in ([i for i in train if i not in val], val, test)]


def _item(task: Task, folder: Path, identity: str) -> Item:
    stored = _read(folder / task.label, identity)
    if stored.ndim == 3:  # a colored mask: any color is the class
        stored = stored.any(2)
    target = np.full(stored.shape, IGNORE, np.uint8)
    for index, code in enumerate(task.codes):
        target[stored == code] = index
    h, w = target.shape
    size = (h // 2, w // 2) if task.half else (h, w)
    rgb = resize_image(_planes(_read(folder / "rgb", identity), "rgb"), size)
    sensors = {}
    for name in task.sensors:
        planes = _planes(_read(folder / name, identity), name)
        if name in task.holes:
            planes = np.concatenate([planes, planes > 0]).astype(np.float32)
        sensors[name] = resize_image(planes, size)
    return Item(rgb, sensors, resize_nearest(target, size), target)


def _read(folder: Path, identity: str) -> np.ndarray:
    """The picture of that name, as stored."""
    path = next(folder.glob(f"{identity}.*"))
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise SystemExit(f"{path} cannot be read")
    return picture


def _planes(picture: np.ndarray, name: str) -> np.ndarray:
    """(H, W) or BGR (H, W, 3) -> (C, H, W) float32, about 0..1."""
    planes = picture[None] if picture.ndim == 2 else picture[:, :, 2::-1].transpose(2, 0, 1)
    full = FULL_SCALE.get(name, 65535.0 if picture.dtype == np.uint16 else 255.0)
    return np.ascontiguousarray(planes, np.float32) / np.float32(full)


# -- batches


def batch(
    items: Sequence[Item], task: Task, seed: int, step: int
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The batch of a step; depends on the arguments alone.

    Returns:
        rgb (B, 3, H, W), sensor -> (B, C, H, W), label (B, H, W) int64 with IGNORE where nothing counts.
    """
    chosen = [
        _cut(items[_draw(len(items), seed, step * BATCH + k)], task, seed, step, k) for k in range(BATCH)
    ]
    rgb = torch.from_numpy(np.stack([c.rgb for c in chosen]))
    sensors = {s: torch.from_numpy(np.stack([c.sensors[s] for c in chosen])) for s in task.sensors}
    return rgb, sensors, torch.from_numpy(np.stack([c.label for c in chosen]).astype(np.int64))


def _draw(count: int, seed: int, position: int) -> int:
    """The item at a place of the endless list of epochs, each in an order of its own."""
    epoch, place = divmod(position, count)
    return int(_order(count, seed, epoch)[place])


@functools.lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, 0xE0]).permutation(count)


def _cut(item: Item, task: Task, seed: int, step: int, number: int) -> Item:
    """Random zoom, crop, flip and color of one item, at the size of the task's crop."""
    rng = np.random.default_rng([seed, step, number])
    factor = float(np.exp(rng.uniform(*np.log(ZOOM))))
    sides = list(zip(item.label.shape, task.crop, strict=True))
    box = [min(have, max(1, round(want / factor))) for have, want in sides]
    inside = [
        want if have * factor >= want else max(1, min(want, round(have * factor))) for have, want in sides
    ]
    corner = [int(rng.integers(0, have - b + 1)) for (have, _), b in zip(sides, box, strict=True)]
    pad = [int(rng.integers(0, want - part + 1)) for (_, want), part in zip(sides, inside, strict=True)]
    window = (..., *(slice(c, c + b) for c, b in zip(corner, box, strict=True)))
    target = (inside[0], inside[1])

    def place(array: np.ndarray, fill: int) -> np.ndarray:
        whole = np.full((*array.shape[:-2], *task.crop), fill, array.dtype)
        whole[..., pad[0] : pad[0] + inside[0], pad[1] : pad[1] + inside[1]] = array
        return whole

    rgb = place(resize_image(item.rgb[window], target), 0)
    label = place(resize_nearest(item.label[window], target), IGNORE)
    sensors = {s: place(task.resample(s, t[window], target), 0) for s, t in item.sensors.items()}
    if rng.random() < 0.5:
        rgb, label = rgb[:, :, ::-1].copy(), label[:, ::-1].copy()
        sensors = {s: task.mirror(s, t) for s, t in sensors.items()}
    return Item(jitter(rgb, rng), sensors, label, label)
