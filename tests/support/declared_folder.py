"""The toy scenes with two declared sensors in place of depth: radar of two channels as npy, near infrared."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from toy_scenes import write_scenes

RADAR = """[modalities.radar]
kind = "image"
path = "radar/{id}.npy"
channels = ["vv", "vh"]
words = "radar"
options = { range = [0, 4000] }
"""
NIR = """[modalities.nir]
kind = "image"
path = "nir/{id}.png"
words = "near infrared"
options = { range = [0, 4000], nodata = 0 }
"""


def write_declared(root: Path, splits: dict[str, int] | None = None, sensors: str = RADAR + NIR) -> Path:
    """far: radar (3000, 0) and nir 3000; near: radar (0, 2000) and nir 1000; plus noise below 500."""
    write_scenes(root, splits)
    rng = np.random.default_rng(1)
    for kind in ("radar", "nir"):
        (root / kind).mkdir()
    for path in sorted((root / "depth").iterdir()):
        far = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 4000
        noise = rng.integers(0, 500, far.shape)
        radar = np.stack([far * 3000 + noise, (1 - far) * 2000 + noise], axis=-1)
        np.save(root / "radar" / f"{path.stem}.npy", radar.astype(np.float32))
        cv2.imwrite(str(root / "nir" / path.name), (1000 + far * 2000 + noise).astype(np.uint16))
    toml = root / "dataset.toml"
    before, depth = toml.read_text().split("[modalities.depth]")
    toml.write_text(before + sensors + "[splits]" + depth.split("[splits]")[1])
    return root
