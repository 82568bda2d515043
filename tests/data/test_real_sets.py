"""The labelled real sets open as data sets, with every sensor they have; and two of them train."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from places import REPOSITORY
from shared_data import shared

from armseg_core.data import open_dataset


@pytest.fixture(scope="module")
def real() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_data", REPOSITORY / "benchmarks" / "real_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# task: (training, val and test samples), channels of each sensor
SETS = {
    "crack": ((61, 15, 24), {"thermal_color": 3, "depth_color": 3}),
    "water": ((74, 18, 33), {"nir": 1, "swir": 1, "dem": 1}),
    "landcover": ((74, 18, 33), {"nir": 1, "swir": 1, "dem": 1}),
    "flood": ((38, 9, 16), {"sar": 1, "sar_before": 1}),
    "potholes": ((30, 7, 8), {"disparity": 2}),
    "furrow": ((20, 5, 8), {"depth_gray": 2}),
    "pipe": ((32, 8, 12), {"depth_gray": 2}),
    "salient": ((8, 2, 1), {"thermal_color": 3}),
}


def test_every_set_is_described(real: ModuleType) -> None:
    assert set(real.FOLDERS) == set(SETS) == {path.stem for path in real.DECLARED.glob("*.toml")}


@pytest.mark.parametrize("task", SETS)
def test_a_sample_has_every_sensor_in_range(real: ModuleType, task: str, tmp_path: Path) -> None:
    counts, sensors = SETS[task]
    folder = real.link_set(task, shared("data", "labelled"), tmp_path)
    splits = [open_dataset(folder, split) for split in ("train", "val", "test")]
    assert tuple(map(len, splits)) == counts
    assert len({name for split in splits for name in split.ids}) == sum(counts)
    for split in splits:
        sample = split.load(0)
        assert sample.label is not None
        assert {name: frame.shape for name, frame in sample.sensors.items()} == {
            name: (channels, *sample.size) for name, channels in sensors.items()
        }
        for frame in sample.sensors.values():
            assert frame.dtype == np.float32
            assert 0 <= frame.min() < frame.max() <= 1
            assert frame.std() > 0.02  # the range fits: structure is seen
        assert set(np.unique(sample.label)) <= {*range(len(split.classes)), split.ignore_index}


@pytest.mark.slow
def test_one_trains_is_measured_and_predicts(real: ModuleType, armseg, tmp_path: Path) -> None:
    folder = real.link_set("flood", shared("data", "labelled"), tmp_path)
    flags = ("--size", "64x64", "--device", "cpu", "--set", "steps=2", "--set", "batch_size=2", "-o", "runs")
    made = armseg("train", folder, *flags, cwd=tmp_path)
    assert made.exit_code == 0, made.stderr
    measured = json.loads(armseg("eval", "--split", "test", "--device", "cpu", "--json").stdout)
    rows = [row["inputs"] for row in measured["rows"]]
    assert rows == ["rgb", "rgb+sar", "rgb+sar_before", "rgb+sar+sar_before"]
    name = open_dataset(folder, "test").ids[0]
    files = (folder / "rgb" / f"{name}.png", folder / "sar_before" / f"{name}.png")
    found = json.loads(armseg("predict", *files, "--modality", "sar_before", "--json").stdout)
    assert list(found["sensors"]) == ["sar_before"]
