"""DSEC-Semantic: events and color images of drives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armseg_core.data.description import Description
from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table
from armseg_core.errors import DataSetError
from armseg_core.files.text import read_text

ROWS, CROP_BOTTOM = 440, 40  # ESS cuts off the bottom rows of 480, where the hood of the car is
# ESS: too few events lie before the first six labels of a sequence; of the others every second is used
SKIP_LABELS, LABEL_STEP = 6, 2

CLASSES_11 = class_table(
    ("background", (0, 0, 0)),
    ("building", (70, 70, 70)),
    ("fence", (190, 153, 153)),
    ("person", (220, 20, 60)),
    ("pole", (153, 153, 153)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("vegetation", (107, 142, 35)),
    ("car", (0, 0, 142)),
    ("wall", (102, 102, 156)),
    ("traffic sign", (220, 220, 0)),
)
CLASSES_19 = class_table(  # those of Cityscapes
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
LABELS = {"11classes": CLASSES_11, "19classes": CLASSES_19}  # the first that a folder has is used


@dataclass(frozen=True)
class DSECDescription(Description):
    """labels: which of the label sets is used, a key of LABELS."""

    labels: str


class DSECSemantic(PublicDataSet):
    """DSEC-Semantic (Sun 2022, ESS): 11 classes, or 19 where only those labels are there.

    Images must be warped to the event camera (`images/left/ev_inf` or `images_aligned/left`): the rectified
    frames of DSEC show another camera's view. The counts are labels of all 8 training and 3 test sequences,
    before the protocol leaves some out; layout and counts are not verified on real files.
    """

    title, name = "DSEC-Semantic", "DSEC-Semantic"
    layout = "{train,test}/<sequence>/{events/left/events.h5,semantic/11classes/}"
    published = Published(
        citation=(
            "Sun et al., ESS: Learning Event-based Semantic Segmentation from Still Images, ECCV 2022; "
            "recordings of Gehrig et al., DSEC: A Stereo Event Camera Dataset for Driving Scenarios, "
            "RA-L 2021"
        ),
        counts={"train": 8082, "test": 2809},
        protocol=(
            f"test, 11 classes; 255 is ignored; the bottom {CROP_BOTTOM} rows are cut off; the first "
            f"{SKIP_LABELS} labels of a sequence are left out and then every second is used"
        ),
    )
    classes = CLASSES_11
    files = Files(
        patterns={split: f"{split}/*/events/left/events.h5" for split in ("train", "test")},
        rgb=("{parent}/images/left/ev_inf/{stem}.png", "{parent}/images_aligned/left/{stem}.png"),
        label=(),
        sensors={"event": ("{parent}/events/left/events.h5",)},
        options={"event": {"crop_bottom": CROP_BOTTOM}},
    )
    label_folders = ("semantic/{0}/data", "semantic/left/{0}/data", "{0}/data", "{0}")
    time_files = ("semantic/timestamps.txt", "semantic/left/timestamps.txt", "{0}_semantic_timestamps.txt")
    description: DSECDescription

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> DSECDescription:
        folder = Path(root)
        found = [labels for labels in LABELS if cls._sequences_with(folder, labels)]
        if not found:
            raise DataSetError(
                "no semantic labels", where=folder, expected="<sequence>/semantic/11classes/data/*.png"
            )
        base = super().describe(folder)
        return DSECDescription(**{**vars(base), "classes": LABELS[found[0]]}, labels=found[0])

    @classmethod
    def _sequences_with(cls, root: Path, labels: str) -> list[tuple[str, Path]]:
        """(sequence, label folder) of every sequence that has labels of a kind."""
        events = [path for glob in cls.files.patterns.values() for path in root.glob(glob)]
        found = []
        for sequence in sorted(path.parents[2] for path in events):
            folders = [sequence / folder.format(labels) for folder in cls.label_folders]
            folder = next((folder for folder in folders if folder.is_dir()), None)
            if folder is not None:
                found.append((sequence.relative_to(root).as_posix(), folder))
        return found

    def list_ids(self, split: str) -> list[str]:
        self._label_folders: dict[str, Path] = {}
        self._times: dict[str, int] = {}
        ids = []
        for sequence, folder in self._sequences_with(self.root, self.description.labels):
            if not sequence.startswith(f"{split}/"):
                continue
            labels = sorted(path.stem for path in folder.glob("*.png"))
            times = self._read_times(sequence, len(labels))
            self._label_folders[sequence] = folder
            for stem, time in list(zip(labels, times, strict=True))[SKIP_LABELS::LABEL_STEP]:
                ids.append(f"{sequence}/{stem}")
                self._times[ids[-1]] = time
        return ids

    def _read_times(self, sequence: str, count: int) -> list[int]:
        root = self.root / sequence
        files = [root / name.format(root.name) for name in self.time_files]
        file = next((path for path in files if path.is_file()), files[0])
        times = [int(line) for line in read_text(file).splitlines() if line.strip()]
        if len(times) != count:
            raise DataSetError(f"{len(times)} times for {count} labels", where=file, expected="one per label")
        return times

    def label_path(self, sample_id: str) -> Path | None:
        sequence, _, stem = sample_id.rpartition("/")
        return self._label_folders[sequence] / f"{stem}.png"

    def time_us(self, sample_id: str) -> int | None:
        return self._times[sample_id]

    def crop(self, array: np.ndarray) -> np.ndarray:
        return array[..., :ROWS, :]
