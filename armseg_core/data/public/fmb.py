"""FMB: RGB and thermal, streets."""

from __future__ import annotations

from pathlib import Path

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table


class FMB(PublicDataSet):
    """FMB (Liu 2023), 600x800. Layout and counts are not verified on real files."""

    title, layout, name = "FMB", "{train,test}/{Visible,Infrared,Label}/", "FMB"
    published = Published(
        citation=(
            "Liu et al., Multi-interactive Feature Learning and a Full-time Multi-modality Benchmark for "
            "Image Fusion and Segmentation, ICCV 2023"
        ),
        counts={"train": 1220, "test": 280},
        protocol="test; background (0) counts as a class, as in the published loaders",
    )
    classes = class_table(
        ("background", (0, 0, 0)),
        ("road", (228, 228, 179)),
        ("sidewalk", (133, 57, 181)),
        ("building", (177, 162, 67)),
        ("lamp", (50, 178, 200)),
        ("sign", (199, 45, 132)),
        ("vegetation", (84, 172, 66)),
        ("sky", (79, 73, 179)),
        ("person", (166, 99, 76)),
        ("car", (253, 121, 66)),
        ("truck", (91, 165, 137)),
        ("bus", (152, 97, 155)),
        ("motorcycle", (140, 153, 105)),
        ("bicycle", (158, 215, 222)),
        ("pole", (90, 113, 135)),
    )
    files = Files(
        markers=(("train/Visible", "train/Infrared", "train/Label"),),
        patterns={"train": "train/Visible/*.png", "test": "test/Visible/*.png"},
        rgb=("{parent}/Visible/{stem}.png",),
        label=("{parent}/Label/{stem}.png",),
        sensors={"thermal": ("{parent}/Infrared/{stem}.png",)},
    )

    def id_of(self, rgb: Path) -> str:
        return f"{rgb.parts[0]}/{rgb.stem}"
