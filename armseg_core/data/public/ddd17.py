"""DDD17 with the labels of Ev-SegNet: gray images and events of drives."""

from __future__ import annotations

from pathlib import Path

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table


class DDD17(PublicDataSet):
    """DDD17 with the labels of Ev-SegNet (Alonso 2019): its export of gray images and 6-channel event arrays.

    The export holds statistics of the events and not the events: the voxel grid is an approximation (see
    `sensors/event/stills.py`). Layout and counts are not verified on real files.
    """

    title, layout, name = "DDD17 (Ev-SegNet export)", "{images,events,labels}/{train,test}/", "DDD17"
    published = Published(
        citation=(
            "Binas et al., DDD17: End-To-End DAVIS Driving Dataset, 2017; labels of Alonso and Murillo, "
            "EV-SegNet: Semantic Segmentation for Event-based Cameras, CVPR Workshops 2019"
        ),
        counts={"train": 15950, "test": 3890},
        protocol="test; 255 is ignored; the labels are those of a network, at 200x346",
    )
    classes = class_table(
        ("flat", (128, 64, 128)),
        ("background", (70, 70, 70)),
        ("object", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("human", (220, 20, 60)),
        ("vehicle", (0, 0, 142)),
    )
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
