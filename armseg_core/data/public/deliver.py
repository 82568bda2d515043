"""DELIVER: RGB, depth and events of simulated streets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table
from armseg_core.files.pictures import read_label


class DELIVER(PublicDataSet):
    """DELIVER (Zhang 2023, CARLA), 1042x1042, five kinds of weather.

    Depth is read from CARLA's 24-bit depth PNG in `depth/`. Events are a rendered 8-bit picture without times
    (see `sensors/event/readers/stills.py`). The LiDAR pictures are renderings of an undocumented coding: not
    offered. The counts are not verified.
    """

    title, layout, name = "DELIVER", "{img,semantic,depth,event}/{cloud,...}/{train,val,test}/", "DELIVER"
    published = Published(
        citation="Zhang et al., Delivering Arbitrary-Modal Semantic Segmentation, CVPR 2023",
        counts={"train": 3983, "val": 2005, "test": 1897},
        protocol="val and test; labels 0 and 255 are ignored, n is class n - 1; weather also reported apart",
    )
    classes = class_table(
        ("building", (70, 70, 70)),
        ("fence", (100, 40, 40)),
        ("other", (55, 90, 80)),
        ("pedestrian", (220, 20, 60)),
        ("pole", (153, 153, 153)),
        ("road line", (157, 234, 50)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("vegetation", (107, 142, 35)),
        ("car", (0, 0, 142)),
        ("wall", (102, 102, 156)),
        ("traffic sign", (220, 220, 0)),
        ("sky", (70, 130, 180)),
        ("ground", (81, 0, 81)),
        ("bridge", (150, 100, 100)),
        ("rail track", (230, 150, 140)),
        ("guard rail", (180, 165, 180)),
        ("traffic light", (250, 170, 30)),
        ("static", (110, 190, 160)),
        ("dynamic", (170, 120, 50)),
        ("water", (45, 60, 150)),
        ("terrain", (145, 170, 100)),
        ("two-wheeler", (0, 0, 230)),
        ("bus", (0, 60, 100)),
        ("truck", (0, 0, 70)),
    )
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
