"""Sensors that a dataset.toml declares: what it may say, how samples get them, what the check says."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from declared_folder import NIR, RADAR, write_declared

from armseg_core.data import DataSet, describe, open_dataset
from armseg_core.data.checking import check_dataset
from armseg_core.errors import DataSetError, UsageError
from armseg_core.sensors import SENSORS, modalities


def forget() -> None:
    modalities._SENSORS.declared = {}


def test_a_sample_has_them(tmp_path: Path) -> None:
    data = open_dataset(write_declared(tmp_path), "test")
    sample = data.load(0)
    assert data.modalities == ("radar", "nir")
    radar, nir = sample.sensors["radar"], sample.sensors["nir"]
    assert (radar.shape, nir.shape) == ((2, 40, 48), (1, 40, 48))
    far = sample.label == 1
    assert 0.75 <= radar[0][far].min() <= radar[0][far].max() < 0.875
    assert radar[1][far].max() < 0.125
    assert 0.25 <= nir[0][~far].min() <= nir[0][~far].max() < 0.375
    assert SENSORS["radar"].prompt == "radar image"


def load_elsewhere(data: DataSet) -> tuple[float, tuple[str, ...]]:
    return float(data.load(0).sensors["radar"].sum()), SENSORS["radar"].channels


def test_a_worker_that_is_sent_the_data_set_knows_them(tmp_path: Path) -> None:
    data = open_dataset(write_declared(tmp_path), "test")
    here = float(data.load(0).sensors["radar"].sum())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(load_elsewhere, (data,)) == (here, ("vv", "vh"))
    stored = pickle.dumps(data)
    forget()
    assert load_elsewhere(pickle.loads(stored)) == (here, ("vv", "vh"))


def test_the_cache_notices_another_declaration(tmp_path: Path) -> None:
    root, cache = write_declared(tmp_path / "data"), tmp_path / "cache"
    first = open_dataset(root, "test", ("nir",), cache_dir=cache).load(0).sensors["nir"]
    toml = root / "dataset.toml"
    toml.write_text(toml.read_text().replace('words = "near infrared"', 'words = "nir"\nvalidity = true'))
    second = open_dataset(root, "test", ("nir",), cache_dir=cache).load(0).sensors["nir"]
    assert (first.shape, second.shape) == ((1, 40, 48), (2, 40, 48))
    np.testing.assert_array_equal(first[0], second[0])
    assert (second[1] == 1).all()


def test_two_data_sets_of_a_training_agree_or_are_refused(tmp_path: Path) -> None:
    first, second = write_declared(tmp_path / "a"), write_declared(tmp_path / "b")
    describe(first), describe(second)
    toml = second / "dataset.toml"
    toml.write_text(toml.read_text().replace('["vv", "vh"]', '["hh", "hv"]'))
    forget()
    describe(first)
    with pytest.raises(UsageError) as caught:
        describe(second)
    assert str(caught.value) == (
        f"{second}: radar is declared as hh, hv (radar), and in {first} as vv, vh (radar) (expected the same "
        "channels and words wherever a name is used together). Try: another name for one of the two"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'kind = "image"\n',
            "",
            "'modalities' is {'radar': {'path': 'radar/{id}.npy', 'channels': ['vv', '... "
            "(expected one of rgb, event, thermal, depth, lidar, polarization, light_field, or "
            'kind = "image" for a '
            "picture of any other sensor, got 'radar', did you mean 'lidar'?)",
        ),
        (
            "modalities.radar",
            "modalities.depth",
            "(expected a name of its own for a sensor with kind, and the name "
            "'depth' belongs to the depth camera)",
        ),
        (
            "modalities.radar",
            "modalities.Radar",
            "(expected small letters, digits and _, a letter first, such as nir or sar_before, got 'Radar')",
        ),
        ('kind = "image"', 'kind = "picture"', "'modalities.radar.kind' is 'picture' (expected image)"),
        (
            '["vv", "vh"]',
            '["vv", 2]',
            "'modalities.radar.channels' is ['vv', 2] (expected a number, or names such as [\"vv\", \"vh\"])",
        ),
        (
            '["vv", "vh"]',
            '["vv", "vv"]',
            "expected valid modalities.radar (the channels of 'radar' are vv, vv (expected 1 "
            "to 256 names that differ))",
        ),
        ('["vv", "vh"]', "0", "expected valid modalities.radar (the channels of 'radar' are none"),
        (
            'words = "radar"',
            'words = ""',
            "'modalities.radar.words' is '' (expected a text that is not empty)",
        ),
        (
            "range = [0, 4000]",
            "rang = [0, 4000]",
            "expected valid modalities.radar.options (unknown option 'rang'. Try: did you mean 'range'?)",
        ),
        (
            "range = [0, 4000]",
            "range = [0, 1, 2, 3, 4, 5]",
            "range has 6 numbers, and radar 2 channels (expected low "
            "and high, or 4 numbers: low, high of each)",
        ),
        (
            "range = [0, 4000]",
            "bands = [3]",
            "bands has 1 numbers, and radar 2 channels (expected one band for each "
            "channel). Try: channels = 1 under [modalities.radar] in dataset.toml",
        ),
        ("range = [0, 4000]", "range = 4000", "option 'range' is 4000 (expected a list)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = write_declared(tmp_path, {"train": 1}, RADAR)
    toml = root / "dataset.toml"
    toml.write_text(toml.read_text().replace(old, new))
    with pytest.raises(DataSetError) as caught:
        describe(root)
    assert message in str(caught.value)


def test_a_declaration_needs_its_kind(tmp_path: Path) -> None:
    root = write_declared(
        tmp_path, {"train": 1}, '[modalities.depth]\npath = "depth/{id}.png"\nwords = "far"\n'
    )
    with pytest.raises(
        DataSetError, match=r'expected kind = "image" beside words under \[modalities.depth\]'
    ):
        describe(root)


def test_one_declared_elsewhere_is_no_known_name(tmp_path: Path) -> None:
    describe(write_declared(tmp_path / "a", {"train": 1}, NIR))
    root = write_declared(tmp_path / "b", {"train": 1}, '[modalities.nir]\npath = "nir/{id}.png"\n')
    with pytest.raises(DataSetError, match=r'or kind = "image" for a picture of any other sensor, got .nir.'):
        describe(root)


def found(root: Path) -> dict[str, tuple[str, str]]:
    return {problem.kind: (problem.what, problem.hint) for problem in check_dataset(root).problems}


def test_the_check_reads_them(tmp_path: Path) -> None:
    assert found(write_declared(tmp_path)) == {}


@pytest.mark.parametrize(
    ("range_", "what"),
    [
        ("[0, 900]", "all of nir is above the declared range 0 to 900"),
        ("[5000, 9000]", "all of nir is below the declared range 5000 to 9000, or without a value"),
        ("[0, 2000000]", "all of nir lies in 2% of the declared range 0 to 2e+06"),
        ("[0, 1200]", "more than half of nir is above the declared range 0 to 1200"),
    ],
)
def test_the_check_knows_a_wrong_range(tmp_path: Path, range_: str, what: str) -> None:
    root = write_declared(tmp_path, None, NIR.replace("[0, 4000]", range_))
    assert found(root) == {
        "sensor_range": (f"nir: {what}", "correct range of the sensor's options in dataset.toml")
    }


def test_the_check_names_a_command_that_works_outside_the_data_set(tmp_path: Path) -> None:
    root = write_declared(tmp_path, {"train": 1}, NIR.replace("nodata = 0", "nodata = -9999"))
    file = root / "nir" / "train0.png"
    assert cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8))
    assert found(root)["unreadable_sensor"][1] == "channels = 3 in dataset.toml for a picture in false colors"
    file.write_bytes(file.read_bytes()[:200])
    _, hint = found(root)["unreadable_sensor"]
    assert hint in (
        f"armseg inspect {file} --modality image --set range=0,4000 --set nodata=-9999 says more",
        "copy or record the file again",
    )
