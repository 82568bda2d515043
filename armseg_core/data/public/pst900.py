"""PST900: RGB and thermal, subterranean."""

from __future__ import annotations

from pathlib import Path

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table


class PST900(PublicDataSet):
    """PST900 (Shivakumar 2020), 720x1280. Layout, classes and counts are not verified on real files."""

    title, layout, name = "PST900", "{train,test}/{rgb,thermal,labels}/", "PST900"
    published = Published(
        citation=(
            "Shivakumar et al., PST900: RGB-Thermal Calibration, Dataset and Segmentation Network, ICRA 2020"
        ),
        counts={"train": 597, "test": 288},
        protocol="test; background (0) counts as a class",
    )
    classes = class_table(
        ("background", (0, 0, 0)),
        ("fire extinguisher", (0, 0, 255)),
        ("backpack", (0, 255, 0)),
        ("hand drill", (255, 0, 0)),
        ("survivor", (255, 255, 255)),
    )
    files = Files(
        markers=(("train/rgb", "train/thermal", "train/labels"),),
        patterns={"train": "train/rgb/*.png", "test": "test/rgb/*.png"},
        rgb=("{parent}/rgb/{stem}.png",),
        label=("{parent}/labels/{stem}.png",),
        sensors={"thermal": ("{parent}/thermal/{stem}.png",)},
    )

    def id_of(self, rgb: Path) -> str:
        return f"{rgb.parts[0]}/{rgb.stem}"
