"""UrbanLF: light fields of streets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table
from armseg_core.files.pictures import UNKNOWN_COLOR, read_color_label, read_label


class UrbanLF(PublicDataSet):
    """UrbanLF (Sheng 2022), 9x9 views; the center one is the image. Open `real` or `Syn`, not both.

    Syn (480x640): `5_5_label.npy`, numbers. Real (432x623): `label.png` painted in the class colors; a color
    of no class is ignored. Sizes and counts are not verified.
    """

    title, name = "UrbanLF", "UrbanLF"
    layout = "{train,val,test}/<scene>/5_5.png (open UrbanLF/real or UrbanLF/Syn)"
    published = Published(
        citation=(
            "Sheng et al., UrbanLF: A Comprehensive Light Field Dataset for Semantic Segmentation of Urban "
            "Scenes, IEEE TCSVT 2022"
        ),
        counts={
            "real/train": 580,
            "real/val": 80,
            "real/test": 164,
            "Syn/train": 172,
            "Syn/val": 28,
            "Syn/test": 50,
        },
        protocol="val, since the labels of test are withheld; 0 and 255 of Syn are ignored, n is class n - 1",
    )
    # which color the authors give to unlabeled pixels is not verified: they are counted, never refused
    unknown_colors_allowed = 1.0
    classes = class_table(
        ("bike", (168, 198, 168)),
        ("building", (198, 0, 0)),
        ("fence", (202, 154, 198)),
        ("others", (0, 0, 0)),
        ("person", (100, 198, 198)),
        ("pole", (198, 100, 0)),
        ("road", (52, 42, 198)),
        ("sidewalk", (154, 52, 192)),
        ("traffic sign", (198, 0, 168)),
        ("vegetation", (0, 198, 0)),
        ("vehicle", (198, 186, 90)),
        ("bridge", (108, 107, 161)),
        ("rider", (156, 200, 26)),
        ("sky", (158, 179, 202)),
    )
    files = Files(
        patterns={split: f"{split}/*/5_5.png" for split in ("train", "val", "test")},
        zero_is_ignored=True,
        rgb=("{id}/5_5.png",),
        label=("{id}/5_5_label.npy", "{id}/label.png"),
        sensors={"light_field": ("{id}",)},
    )

    def id_of(self, rgb: Path) -> str:
        return rgb.parent.as_posix()

    def read_stored_label(self, path: Path) -> np.ndarray:
        if path.suffix == ".npy":
            return read_label(path)
        label = read_color_label(path, self.palette)
        return np.where(label == UNKNOWN_COLOR, label, label + 1)  # the coding of Syn: 0 is ignored
