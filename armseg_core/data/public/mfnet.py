"""MFNet: RGB and thermal, day and night streets."""

from __future__ import annotations

from armseg_core.data.public.base import Files, PublicDataSet, Published, class_table


class MFNet(PublicDataSet):
    """MFNet (Ha 2017), 480x640.

    The original release (not verified on real files) keeps the thermal frame in the alpha channel of
    `images/<id>.png`, its ids end in D (day) or N (night); the layout of DELIVER's loader has `rgb/<id>.jpg`
    and `ther/<id>.jpg`. The counts are not verified.
    """

    title, layout, name = "MFNet", "labels/ + images/ or rgb/ + ther/, test.txt", "MFNet"
    published = Published(
        citation=(
            "Ha et al., MFNet: Towards Real-Time Semantic Segmentation for Autonomous Vehicles with "
            "Multi-Spectral Scenes, IROS 2017"
        ),
        counts={"train": 784, "val": 392, "test": 393},
        protocol="test; `unlabeled` (0) counts as a class; day and night are also reported apart",
    )
    classes = class_table(
        ("unlabeled", (0, 0, 0)),
        ("car", (64, 0, 128)),
        ("person", (64, 64, 0)),
        ("bike", (0, 128, 192)),
        ("curve", (0, 0, 192)),
        ("car stop", (128, 128, 0)),
        ("guardrail", (64, 64, 128)),
        ("color cone", (192, 128, 128)),
        ("bump", (192, 64, 0)),
    )
    files = Files(
        markers=(("labels", "images", "test.txt"), ("labels", "rgb", "ther", "test.txt")),
        lists={"train": "train.txt", "val": "val.txt", "test": "test.txt"},
        rgb=("images/{id}.png", "rgb/{id}.jpg", "rgb/{id}.png"),
        label=("labels/{id}.png",),
        sensors={"thermal": ("images/{id}.png", "ther/{id}.jpg", "ther/{id}.png")},
    )
