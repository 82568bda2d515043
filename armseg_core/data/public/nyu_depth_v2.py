"""NYU Depth V2: RGB and depth, indoors."""

from __future__ import annotations

import warnings
from typing import Any

from armseg_core.data.public.base import Files, PublicDataSet, Published
from armseg_core.data.sample import ClassInfo, default_color
from armseg_core.errors import ArmsegWarning
from armseg_core.files.image_headers import image_header

NAMES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, "
    "shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, "
    "television, paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, "
    "bathtub, bag, other structure, other furniture, other prop"
)


class NYUDepthV2(PublicDataSet):
    """NYU Depth V2 (Silberman 2012), 40 classes, 480x640, folder layout of DELIVER's loader.

    `Depth/<id>.png` is 16-bit millimeters; of 8 bits, as some repositories spread it, it is relative. Without
    it depth is taken from the disparity channel of the HHA image, 8 bits: coarse beyond about 5 m. The data
    set has no palette of its own.
    """

    title, layout, name = "NYU Depth V2", "RGB/ + Label/ + Depth/ or HHA/, train.txt", "NYU Depth V2"
    published = Published(
        citation=(
            "Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012; 40 "
            "classes of Gupta et al., Perceptual Organization and Recognition of Indoor Scenes from RGB-D "
            "Images, CVPR 2013"
        ),
        counts={"train": 795, "test": 654},
        protocol="test; labels 0 and 255 are ignored, n is class n - 1; often at several scales and flipped",
    )
    classes = tuple(ClassInfo(name, default_color(i)) for i, name in enumerate(NAMES.split(", ")))
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
        path = self.sensor_path(sample_id, modality)
        if path.parent.name == "HHA":
            return {"depth_unit": "hha"}
        header = image_header(path) if path.is_file() else None
        if header is not None and header.bits == 8:
            what = "8-bit depth has no unit: it is taken as relative depth, small values near"
            warnings.warn(ArmsegWarning(f"{path.parent}: {what}"), stacklevel=3)
            return {"depth_unit": "relative", "near": "small"}
        return super().sensor_options(sample_id, modality)
