"""The committed sample data: what the simulator makes from the documented command, and good for training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from armseg_core.data.sample_data import SAMPLE_SCENES
from armseg_core.simulate import simulate


def test_the_readme_names_the_command_that_made_it(sample_data: Path) -> None:
    height, width = SAMPLE_SCENES.size
    command = (
        f"armseg simulate sample_data --scenes {SAMPLE_SCENES.scenes} --seed {SAMPLE_SCENES.seed} "
        f"--size {width}x{height} --light-field-views {SAMPLE_SCENES.light_field_views}"
    )
    assert command in (sample_data / "README.md").read_text()
    scenes = sorted(sample_data.glob("scene_*/scene.json"))
    assert len(scenes) == SAMPLE_SCENES.scenes
    for number, file in enumerate(scenes):
        made = json.loads(file.read_text())["parameters"]
        assert (made["seed"], made["index"]) == (SAMPLE_SCENES.seed, number)
        assert made["size"] == list(SAMPLE_SCENES.size)
        assert made["light_field_views"] == SAMPLE_SCENES.light_field_views


def test_the_simulator_still_makes_it(sample_data: Path, tmp_path: Path) -> None:
    simulate(tmp_path, **{**asdict(SAMPLE_SCENES), "scenes": 1, "progress": False})
    made, kept = tmp_path / "scene_00000", sample_data / "scene_00000"
    labels = [np.array(Image.open(folder / "label.png")) for folder in (made, kept)]
    assert (labels[0] == labels[1]).mean() > 0.999  # another processor may round a pixel's edge differently
    for name in ("rgb.png", "thermal.tiff", "polarization.png", "light_field/2_4.png"):
        a, b = (cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED).astype(float) for folder in (made, kept))
        assert np.abs(a - b).mean() < 0.01 * b.mean()
    assert {p.name for p in made.iterdir()} == {p.name for p in kept.iterdir()}


def test_every_class_is_in_every_split(sample_data: Path) -> None:
    for split in ("train", "val", "test"):
        names = (sample_data / "splits" / f"{split}.txt").read_text().split()
        labels = [np.array(Image.open(sample_data / name / "label.png")) for name in names]
        found = np.unique(labels)
        assert found.tolist() == list(range(13)), split
