"""Public data sets in the layouts they are passed around in, one class each.

No copy of them is at hand where armseg is built: the tests make tiny folders with the same layout. Layouts
and codings are those of published loaders; what was not verified on real files says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.data.dataset import DataSet
from armseg_core.data.folder import fill, read_ids, read_lines
from armseg_core.data.public import classes as classes_of
from armseg_core.errors import DataSetError
from armseg_core.files.pictures import read_color_label, read_label

Templates = tuple[str, ...]  # paths with {id}, {parent}, {stem}; the first that exists is used


@dataclass(frozen=True)
class Files:
    """Where the files of a public data set are.

    sensors: modality -> templates. options: modality -> options of its conversion.

    markers: alternatives of files and folders that must be there.
    lists: split -> file with one id (the first word) per line.
    patterns: split -> glob of the RGB images, whose ids `PublicDataSet.id_of` makes.
    zero_is_ignored: labels 0 and 255 are ignored and n is class n - 1.
    """

    rgb: Templates
    label: Templates
    sensors: dict[str, Templates]
    markers: tuple[tuple[str, ...], ...] = ()
    lists: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    zero_is_ignored: bool = False


class PublicDataSet(DataSet):
    """Common ground: everything follows from the table of files that a subclass sets."""

    files: Files

    @classmethod
    def matches(cls, root: Path) -> bool:
        return any(all((root / part).exists() for part in parts) for parts in cls.files.markers)

    def _open(self) -> None:
        self.modalities = tuple(self.files.sensors)
        names = {**self.files.lists, **self.files.patterns}
        self.splits = tuple(split for split in names if self._has_split(split))

    def _has_split(self, split: str) -> bool:
        if split in self.files.lists:
            return (self.root / self.files.lists[split]).is_file()
        return next(self.root.glob(self.files.patterns[split]), None) is not None

    def list_ids(self, split: str) -> list[str]:
        if split in self.files.lists:
            return [line.split()[0] for line in read_ids(self.root / self.files.lists[split])]
        images = self.root.glob(self.files.patterns[split])
        return sorted(self.id_of(path.relative_to(self.root)) for path in images)

    def id_of(self, rgb: Path) -> str:
        """The id of an RGB image found by `patterns`; its path is relative to the data set."""
        raise NotImplementedError

    def rgb_path(self, sample_id: str) -> Path:
        return self._first(self.files.rgb, sample_id)

    def label_path(self, sample_id: str) -> Path | None:
        return self._first(self.files.label, sample_id)

    def sensor_path(self, sample_id: str, modality: str) -> Path:
        return self._first(self.files.sensors[modality], sample_id)

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        return self.files.options.get(modality, {})

    def map_label(self, stored: np.ndarray) -> np.ndarray:
        if not self.files.zero_is_ignored:
            return stored
        label = stored.astype(np.int64)
        return np.where((label == 0) | (label == 255), self.ignore_index, label - 1)

    def _first(self, templates: Iterable[str], sample_id: str) -> Path:
        paths = [self.root / fill(template, sample_id) for template in templates]
        return next((path for path in paths if path.exists()), paths[0])


class MFNet(PublicDataSet):
    """MFNet (Ha 2017), day and night streets. `unlabeled` (0) counts as a class in published figures.

    The original release keeps the thermal frame in the alpha channel of `images/<id>.png`; the layout of
    DELIVER's loader has `rgb/<id>.jpg` and `ther/<id>.jpg`.
    """

    title, layout = "MFNet", "labels/ + images/ or rgb/ + ther/, test.txt"
    name, classes = "MFNet", classes_of.MFNET
    files = Files(
        markers=(("labels", "images", "test.txt"), ("labels", "rgb", "ther", "test.txt")),
        lists={"train": "train.txt", "val": "val.txt", "test": "test.txt"},
        rgb=("images/{id}.png", "rgb/{id}.jpg", "rgb/{id}.png"),
        label=("labels/{id}.png",),
        sensors={"thermal": ("images/{id}.png", "ther/{id}.jpg", "ther/{id}.png")},
    )


class PST900(PublicDataSet):
    """PST900 (Shivakumar 2020), subterranean. Background (0) counts as a class."""

    title, layout = "PST900", "{train,test}/{rgb,thermal,labels}/"
    name, classes = "PST900", classes_of.PST900
    files = Files(
        markers=(("train/rgb", "train/thermal", "train/labels"),),
        patterns={"train": "train/rgb/*.png", "test": "test/rgb/*.png"},
        rgb=("{parent}/rgb/{stem}.png",),
        label=("{parent}/labels/{stem}.png",),
        sensors={"thermal": ("{parent}/thermal/{stem}.png",)},
    )

    def id_of(self, rgb: Path) -> str:
        return f"{rgb.parts[0]}/{rgb.stem}"


class FMB(PST900):
    """FMB (Liu 2023). Background (0) counts as a class, as in the published loaders."""

    title, layout = "FMB", "{train,test}/{Visible,Infrared,Label}/"
    name, classes = "FMB", classes_of.FMB
    files = Files(
        markers=(("train/Visible", "train/Infrared", "train/Label"),),
        patterns={"train": "train/Visible/*.png", "test": "test/Visible/*.png"},
        rgb=("{parent}/Visible/{stem}.png",),
        label=("{parent}/Label/{stem}.png",),
        sensors={"thermal": ("{parent}/Infrared/{stem}.png",)},
    )


class NYUDepthV2(PublicDataSet):
    """NYU Depth V2 (Silberman 2012), 40 classes, folder layout of DELIVER's loader. Label 0 is ignored.

    `Depth/<id>.png` is 16-bit millimeters. Without it depth is taken from the disparity channel of the HHA
    image, 8 bits: coarse beyond about 5 m.
    """

    title, layout = "NYU Depth V2", "RGB/ + Label/ + Depth/ or HHA/, train.txt"
    name, classes = "NYU Depth V2", classes_of.NYU
    files = Files(
        markers=(("RGB", "Label", "Depth", "train.txt"), ("RGB", "Label", "HHA", "train.txt")),
        lists={"train": "train.txt", "val": "val.txt", "test": "test.txt"},
        rgb=("RGB/{id}.jpg", "RGB/{id}.png"),
        label=("Label/{id}.png",),
        zero_is_ignored=True,
        sensors={"depth": ("Depth/{id}.png", "HHA/{id}.jpg", "HHA/{id}.png")},
        options={"depth": {"depth_unit": "mm"}},
    )

    def sensor_options(self, sample_id: str, modality: str) -> dict[str, Any]:
        folder = self.sensor_path(sample_id, modality).parent.name
        return {"depth_unit": "hha"} if folder == "HHA" else super().sensor_options(sample_id, modality)


class MCubeS(PublicDataSet):
    """MCubeS (Liang 2022), 20 materials. The left 192 columns are cut off, as in the published loaders."""

    title, layout = "MCubeS", "polL_color/ + polL_dolp/ + GT/, list_folder/"
    name, classes = "MCubeS", classes_of.MCUBES
    files = Files(
        markers=(("polL_color", "polL_dolp", "GT", "list_folder"),),
        lists={split: f"list_folder/{split}.txt" for split in ("train", "val", "test")},
        rgb=("polL_color/{id}.png",),
        label=("GT/{id}.png",),
        sensors={"polarization": ("polL_dolp/{id}.npy",)},
        options={"polarization": {"crop_left": 192}},
    )

    def crop(self, array: np.ndarray) -> np.ndarray:
        return array[..., self.files.options["polarization"]["crop_left"] :]


class UrbanLF(PublicDataSet):
    """UrbanLF (Sheng 2022), 9x9 views; the center one is the image. Open `real` or `Syn`, not both.

    Syn: `5_5_label.npy`, 0 and 255 ignored. Real: `label.png` painted in the class colors; a color of no
    class is ignored. Labels of the test split are withheld.
    """

    title, layout = "UrbanLF", "{train,val,test}/<scene>/5_5.png (open UrbanLF/real or UrbanLF/Syn)"
    name, classes = "UrbanLF", classes_of.URBANLF
    files = Files(
        patterns={split: f"{split}/*/5_5.png" for split in ("train", "val", "test")},
        zero_is_ignored=True,
        rgb=("{id}/5_5.png",),
        label=("{id}/5_5_label.npy", "{id}/label.png"),
        sensors={"light_field": ("{id}",)},
    )

    @classmethod
    def matches(cls, root: Path) -> bool:
        return any(next(root.glob(pattern), None) is not None for pattern in cls.files.patterns.values())

    def id_of(self, rgb: Path) -> str:
        return rgb.parent.as_posix()

    def read_stored_label(self, path: Path) -> np.ndarray:
        if path.suffix == ".npy":
            return read_label(path)
        label = read_color_label(path, self.palette, unknown=-1)
        return label + 1  # the coding of Syn: 0 is ignored


class DDD17(PublicDataSet):
    """DDD17 with the labels of Ev-SegNet (Alonso 2019): its export of gray images and 6-channel event arrays.

    The export holds statistics of the events and not the events: the voxel grid is an approximation (see
    `representations/event_stills.py`). Published figures are on `test`.
    """

    title, layout = "DDD17 (Ev-SegNet export)", "{images,events,labels}/{train,test}/"
    name, classes = "DDD17", classes_of.DDD17
    files = Files(
        markers=(
            ("images/train", "events/train", "labels/train"),
            ("images/test", "events/test", "labels/test"),
        ),
        patterns={split: f"images/{split}/*.png" for split in ("train", "test", "other")},
        rgb=("images/{id}.png",),
        label=("labels/{id}.png",),
        sensors={"event": ("events/{id}.npy",)},
    )

    def id_of(self, rgb: Path) -> str:
        return rgb.relative_to("images").with_suffix("").as_posix()


class DSECSemantic(PublicDataSet):
    """DSEC-Semantic (Sun 2022, ESS): 11 classes, or 19 where only those labels are there.

    As in ESS, the bottom 40 rows are cut off, the first six labels of a sequence are left out (too few events
    before them) and then every second label is used. Images must be warped to the event camera
    (`images/left/ev_inf` or `images_aligned/left`): the rectified frames of DSEC show another camera's view.
    """

    title, layout = "DSEC-Semantic", "{train,test}/<sequence>/{events/left/events.h5,semantic/11classes/}"
    name = "DSEC-Semantic"
    files = Files(
        patterns={split: f"{split}/*/events/left/events.h5" for split in ("train", "test")},
        rgb=("{parent}/images/left/ev_inf/{stem}.png", "{parent}/images_aligned/left/{stem}.png"),
        label=(),
        sensors={"event": ("{parent}/events/left/events.h5",)},
        options={"event": {"crop_bottom": 40}},
    )
    label_folders = ("semantic/{0}/data", "semantic/left/{0}/data", "{0}/data", "{0}")
    time_files = ("semantic/timestamps.txt", "semantic/left/timestamps.txt", "{0}_semantic_timestamps.txt")
    skip_labels, label_step, rows = 6, 2, 440

    @classmethod
    def matches(cls, root: Path) -> bool:
        return any(next(root.glob(pattern), None) is not None for pattern in cls.files.patterns.values())

    def _open(self) -> None:
        super()._open()
        self._label_folders: dict[str, Path] = {}
        self._times: dict[str, int] = {}
        kinds = [kind for kind in ("11classes", "19classes") if self._sequences_with(kind)]
        if not kinds:
            raise DataSetError(
                "no semantic labels", where=self.root, expected="<sequence>/semantic/11classes/data/*.png"
            )
        self.kind = kinds[0]
        self.classes = classes_of.DSEC_11 if self.kind == "11classes" else classes_of.CITYSCAPES_19

    def _sequences_with(self, kind: str) -> list[tuple[str, Path]]:
        """(sequence, label folder) of every sequence that has labels of a kind."""
        events = [path for split in self.splits for path in self.root.glob(self.files.patterns[split])]
        found = []
        for sequence in sorted(path.parents[2] for path in events):
            folders = [sequence / folder.format(kind) for folder in self.label_folders]
            labels = next((folder for folder in folders if folder.is_dir()), None)
            if labels is not None:
                found.append((sequence.relative_to(self.root).as_posix(), labels))
        return found

    def list_ids(self, split: str) -> list[str]:
        ids = []
        for sequence, folder in self._sequences_with(self.kind):
            if not sequence.startswith(f"{split}/"):
                continue
            labels = sorted(path.stem for path in folder.glob("*.png"))
            times = self._read_times(sequence, len(labels))
            self._label_folders[sequence] = folder
            for stem, time in list(zip(labels, times, strict=True))[self.skip_labels :: self.label_step]:
                ids.append(f"{sequence}/{stem}")
                self._times[ids[-1]] = time
        return ids

    def _read_times(self, sequence: str, count: int) -> list[int]:
        root = self.root / sequence
        files = [root / name.format(root.name) for name in self.time_files]
        file = next((path for path in files if path.is_file()), files[0])
        times = [int(line) for line in read_lines(file) if line.strip()]
        if len(times) != count:
            raise DataSetError(f"{len(times)} times for {count} labels", where=file, expected="one per label")
        return times

    def label_path(self, sample_id: str) -> Path | None:
        sequence, _, stem = sample_id.rpartition("/")
        return self._label_folders[sequence] / f"{stem}.png"

    def time_us(self, sample_id: str) -> int | None:
        return self._times[sample_id]

    def crop(self, array: np.ndarray) -> np.ndarray:
        return array[..., : self.rows, :]


class DELIVER(PublicDataSet):
    """DELIVER (Zhang 2023, CARLA). Labels 0 and 255 are ignored, n is class n - 1.

    Depth is read from CARLA's 24-bit depth PNG in `depth/`. Events are a rendered 8-bit picture without times
    (see `sensors/events_stills.py`). The LiDAR pictures are renderings of an undocumented coding: not
    offered.
    """

    title, layout = "DELIVER", "{img,semantic,depth,event}/{cloud,...}/{train,val,test}/"
    name, classes = "DELIVER", classes_of.DELIVER
    files = Files(
        markers=(("img", "semantic", "depth"), ("img", "semantic", "event")),
        patterns={split: f"img/*/{split}/*/*_rgb_front.png" for split in ("train", "val", "test")},
        rgb=("img/{id}_rgb_front.png",),
        label=("semantic/{id}_semantic_front.png",),
        zero_is_ignored=True,
        sensors={"depth": ("depth/{id}_depth_front.png",), "event": ("event/{id}_event_front.png",)},
        options={"depth": {"depth_unit": "carla"}},
    )

    def id_of(self, rgb: Path) -> str:
        return rgb.relative_to("img").as_posix().removesuffix("_rgb_front.png")

    def read_stored_label(self, path: Path) -> np.ndarray:
        return read_label(path, red=True)
