"""Data sets of raw recordings: every sensor through the real converter, and the check of the sample data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armseg_core.data import open_dataset
from armseg_core.data.checking import check_dataset
from armseg_core.learning.augment import Augment
from armseg_core.sensors.modalities import MODALITIES, SENSORS

SIZE = (48, 64)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from armseg_core.simulate import simulate

    folder = tmp_path_factory.mktemp("simulated") / "scenes"
    simulate(folder, scenes=2, seed=11, size=SIZE)
    return folder


def first_split(folder: Path) -> str:
    splits = ("train", "val", "test")
    return next(split for split in splits if (folder / f"splits/{split}.txt").read_text().strip())


def test_every_raw_sensor_becomes_its_model_tensor(simulated: Path) -> None:
    dataset = open_dataset(simulated, first_split(simulated))
    assert set(dataset.modalities) == set(SENSORS)
    sample = dataset.load(0)
    assert sample.size == SIZE
    assert set(sample.sensors) == set(SENSORS)
    for name, tensor in sample.sensors.items():
        assert tensor.shape == (MODALITIES[name].num_channels, *SIZE)
        assert np.isfinite(tensor).all(), name
        assert tensor.std() > 0, name
    assert set(np.unique(sample.label)) <= {*range(len(dataset.classes)), 255}
    assert dataset.caption(0)


def test_the_disk_cache_changes_nothing(simulated: Path, tmp_path: Path) -> None:
    split = first_split(simulated)
    plain = open_dataset(simulated, split, size=(24, 32)).load(0)
    for _ in range(2):  # made, then read
        cached = open_dataset(simulated, split, size=(24, 32), cache_mb=16, cache_dir=tmp_path).load(0)
        for name, tensor in plain.sensors.items():
            np.testing.assert_array_equal(cached.sensors[name], tensor, err_msg=name)
    assert len(list(tmp_path.glob("*.h5"))) == len(SENSORS)


def test_simulated_scenes_can_be_augmented(simulated: Path) -> None:
    sample = open_dataset(simulated, first_split(simulated)).load(0)
    out = Augment((40, 72), (0.5, 2.0))(sample, np.random.default_rng(0))
    assert out.size == (40, 72)
    assert set(out.sensors) == set(SENSORS)


def test_the_sample_data_has_no_errors(sample_data: Path) -> None:
    if not (sample_data / "dataset.toml").is_file():
        pytest.skip("sample_data is not there")
    report = check_dataset(sample_data)
    assert report.errors == ()
    assert set(report.splits) == {"train", "val", "test"}
