"""MCubeS: RGB, polarization and near infrared, materials in street scenes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from armseg_core.data.description import Description
from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table
from armseg_core.sensors.modalities import Declaration

CROP_LEFT = 192  # columns of 1224 that the published loaders cut off, so that 1032 remain


class MCubeS(PublicDataSet):
    """MCubeS (Liang 2022), 20 materials, 1024x1224 of which 1024x1032 are used.

    Its near infrared, where it is there, was warped to the RGB image and is 0 where that left nothing. The
    counts are not verified.
    """

    title, layout, name = "MCubeS", "polL_color/ + polL_dolp/ + GT/, list_folder/", "MCubeS"
    published = Published(
        citation="Liang et al., Multimodal Material Segmentation, CVPR 2022",
        counts={"train": 302, "val": 96, "test": 102},
        protocol=f"test; 255 is ignored; the left {CROP_LEFT} columns are cut off",
    )
    classes = class_table(
        ("asphalt", (44, 160, 44)),
        ("concrete", (31, 119, 180)),
        ("metal", (255, 127, 14)),
        ("road marking", (214, 39, 40)),
        ("fabric", (140, 86, 75)),
        ("glass", (127, 127, 127)),
        ("plaster", (188, 189, 34)),
        ("plastic", (255, 152, 150)),
        ("rubber", (23, 190, 207)),
        ("sand", (174, 199, 232)),
        ("gravel", (196, 156, 148)),
        ("ceramic", (197, 176, 213)),
        ("cobblestone", (247, 182, 210)),
        ("brick", (199, 199, 199)),
        ("grass", (219, 219, 141)),
        ("wood", (158, 218, 229)),
        ("leaf", (57, 59, 121)),
        ("water", (107, 110, 207)),
        ("human", (156, 158, 222)),
        ("sky", (99, 121, 57)),
    )
    declared = (Declaration.of("nir", words="near infrared", validity=True),)
    files = Files(
        markers=(("polL_color", "polL_dolp", "GT", "list_folder"),),
        lists={split: f"list_folder/{split}.txt" for split in ("train", "val", "test")},
        rgb=("polL_color/{id}.png",),
        label=("GT/{id}.png",),
        sensors={"polarization": ("polL_dolp/{id}.npy",), "nir": ("NIR_warped/{id}.png",)},
        options={
            "polarization": {"crop_left": CROP_LEFT},
            "nir": {"crop_left": CROP_LEFT, "nodata": 0},
        },
    )

    @classmethod
    def describe(cls, root: str | os.PathLike[str]) -> Description:
        found = super().describe(root)
        if (Path(root) / "NIR_warped").is_dir():
            return found
        return replace(found, modalities=tuple(name for name in found.modalities if name != "nir"))

    def crop(self, array: np.ndarray) -> np.ndarray:
        return array[..., CROP_LEFT:]
