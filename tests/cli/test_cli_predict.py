"""`armseg predict`: what it writes and prints, and every file or choice that cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_writer import write_tensor
from one_line import assert_refused, files_below
from PIL import Image
from run_folders import SCENES, write_run
from small_models import shake, small_model, write_clip
from toy_scenes import write_scenes

from armseg_core.learning.model_folder import save
from armseg_core.learning.prediction import Predictor


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a scene, and files that are wrong."""
    folder = tmp_path_factory.mktemp("place")
    clip = write_clip(folder / "clip", layers=2)
    write_scenes(folder / "data", {"train": 1})
    run = write_run(folder, clip, folder / "data")
    for kind in ("rgb", "depth"):
        shutil.copy(folder / "data" / kind / "train0.png", folder / f"{kind}.png")
    whole = (folder / "depth.png").read_bytes()
    (folder / "cut_depth.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not a picture")
    (folder / "file").write_text("x")
    cv2.imwrite(str(folder / "square_depth.png"), np.full((40, 40), 900, np.uint16))
    write_tensor(folder / "depth.h5", "depth", np.full((3, 40, 48), 2, np.float32))
    write_tensor(folder / "lidar.h5", "lidar", np.full((3, 40, 48), 2, np.float32))
    stored = (folder / "depth.h5").read_bytes()
    (folder / "cut.h5").write_bytes(stored[: len(stored) // 2])
    shutil.copytree(run / "best", folder / "damaged")
    (folder / "damaged" / "armseg.json").write_text("{ not json")
    (folder / "empty").mkdir()
    return folder


def test_pictures_and_shares(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("predict", "rgb.png", "depth.h5", "-o", tmp_path / "out", cwd=place)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "rgb.color.png",
        "rgb.mask.png",
        "rgb.overlay.png",
    ]
    with Image.open(tmp_path / "out" / "rgb.mask.png") as picture:
        assert picture.mode == "P"
        mask = np.asarray(picture)
    assert "inputs: rgb + depth (from file), 48x40" in result.stdout
    shares = {
        line.split()[0]: line.split()[1] for line in result.stdout.splitlines() if line.startswith("  ")
    }
    for index, name in enumerate(("near", "far")):
        share = (mask == index).mean()
        assert shares.get(name, "0.0%") == f"{share:.1%}"
    assert f"Next: armseg visualize {tmp_path / 'out' / 'rgb.mask.png'}" in result.stdout
    assert result.stderr == ""


def test_json_holds_the_same_and_nothing_else_is_printed(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg(
        "predict", "rgb.png", "depth.png", "--set", "depth_unit=mm", "-o", tmp_path, "--json", cwd=place
    )
    printed = json.loads(result.stdout)
    assert printed["sensors"] == {"depth": "file"}
    assert sum(printed["shares"].values()) == pytest.approx(1)
    assert 0.5 <= printed["mean_confidence"] <= 1
    assert {k: Path(p) for k, p in printed["files"].items()} == {
        k: tmp_path / f"rgb.{k}.png" for k in ("mask", "color", "overlay")
    }
    assert all(Path(p).is_file() for p in printed["files"].values())


@pytest.fixture(scope="module")
def two(place: Path) -> Path:
    """A model of depth and thermal, and beside the depth a thermal file that says what it is."""
    model = small_model(write_clip(place / "clip2", layers=2), ("depth", "thermal"), datasets=(SCENES,))
    shake(model.segmenter, scale=0.3)
    save(model, place / "two")
    frame = np.random.default_rng(2).random((1, 40, 48)).astype(np.float32)
    write_tensor(place / "thermal.h5", "thermal", frame)
    shutil.copy(place / "depth.png", place / "scan.png")
    return place / "two"


def test_several_recordings_at_once(armseg, place: Path, two: Path, tmp_path: Path) -> None:
    files = ("rgb.png", "depth.h5", "thermal.h5", "--model", two, "-o", tmp_path)
    result = armseg("predict", *files, cwd=place)
    assert result.exit_code == 0, result.output
    assert "inputs: rgb + depth (from file) + thermal (from file), 48x40" in result.stdout
    both = np.asarray(Image.open(tmp_path / "rgb.mask.png"))
    predictor = Predictor.load(two, "cpu")
    expected = predictor.predict(place / "rgb.png", place / "depth.h5", place / "thermal.h5")
    assert np.array_equal(both, expected.mask)
    assert not np.array_equal(both, predictor.predict(place / "rgb.png", place / "depth.h5").mask)


def test_the_sensors_of_several_recordings_can_be_named(
    armseg, place: Path, two: Path, tmp_path: Path
) -> None:
    files = ("rgb.png", "scan.png", "depth.h5", "--model", two, "-o", tmp_path, "--json")
    result = armseg("predict", *files, "--modality", "infrared,depth", cwd=place)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sensors"] == {"thermal": "option", "depth": "option"}
    # an option goes to the sensor that has it
    files = ("rgb.png", "scan.png", "thermal.h5", "--model", two, "-o", tmp_path)
    for unit, words in (("mm", ""), ("feet", "depth_unit")):
        result = armseg("predict", *files, "-m", "depth,thermal", "--depth-unit", unit, cwd=place)
        assert (result.exit_code == 0) == (not words), result.output
        assert words in result.stderr


TWO = {
    "two files of one sensor": (("depth.h5", "depth.h5"), "depth.h5: two files of depth"),
    "two files named alike": (("scan.png", "depth.h5", "-m", "depth,depth"), "two files of depth"),
    "less names than files": (
        ("depth.h5", "thermal.h5", "-m", "depth"),
        "1 names in --modality and 2 sensor files",
    ),
    "more names than files": (
        ("depth.h5", "-m", "depth,thermal"),
        "2 names in --modality and 1 sensor files",
    ),
    "an unknown name": (("depth.h5", "thermal.h5", "-m", "depth,themal"), "unknown modality 'themal'"),
    "a missing second file": (("depth.h5", "gone.h5"), "gone.h5: no such file"),
    "an option of another sensor": (
        ("depth.h5", "thermal.h5", "--window", "50ms"),
        "unknown option 'window'",
    ),
    "an option nobody has": (("depth.h5", "thermal.h5", "--set", "untis=mm"), "unknown option 'untis'"),
}


@pytest.mark.parametrize("name", TWO)
def test_recordings_that_cannot_be_used_together(name: str, armseg, place: Path, two: Path) -> None:
    arguments, *words = TWO[name]
    before = files_below(place)
    assert_refused(armseg("predict", "rgb.png", *arguments, "--model", two, cwd=place), *words)
    assert files_below(place) == before


def test_without_a_guide_a_recording_that_could_be_two_sensors_must_be_named(
    armseg, place: Path, two: Path, tmp_path: Path
) -> None:
    model = small_model({"guide": "none"}, ("depth", "thermal"), datasets=(SCENES,))
    save(model, tmp_path / "blind")
    files = ("rgb.png", "scan.png", "--model", tmp_path / "blind", "-o", tmp_path)
    assert_refused(armseg("predict", *files, cwd=place), "without a guide", "--modality depth")
    assert armseg("predict", *files, "--modality", "depth", "--depth-unit", "mm", cwd=place).exit_code == 0


def test_rgb_alone_goes_to_a_folder_of_its_own(armseg, place: Path, tmp_path: Path) -> None:
    model = place / "runs" / "train-001" / "last"
    result = armseg("predict", place / "rgb.png", "--model", model, cwd=tmp_path)
    assert "inputs: rgb only, 48x40" in result.stdout
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        "rgb.color.png",
        "rgb.mask.png",
        "rgb.overlay.png",
    ]


def test_an_assumed_unit_is_said(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("predict", "rgb.png", "depth.png", "-o", tmp_path, cwd=place)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert "mm" in result.stderr


WRONG = {
    "missing image": (("nothing.png",), "nothing.png: no such file"),
    "missing sensor file": (("rgb.png", "nothing.h5"), "nothing.h5: no such file"),
    "an image that is none": (("text.png",), "text.png: not a readable image"),
    "a sensor file that is none": (("rgb.png", "file"), "file: no sensor of the model can read this file"),
    "truncated picture": (("rgb.png", "cut_depth.png"), "cut_depth.png", "truncated"),
    "truncated HDF5": (("rgb.png", "cut.h5"), "cut.h5", "truncated"),
    "truncated HDF5 with its sensor": (("rgb.png", "cut.h5", "--modality", "depth"), "cut.h5", "truncated"),
    "another shape": (("rgb.png", "square_depth.png"), "40x40", "48x40", "--stretch"),
    "unknown modality": (("rgb.png", "depth.png", "--modality", "dept"), "unknown modality 'dept'", "depth"),
    "a sensor the model does not know": (("rgb.png", "lidar.h5"), "not trained with lidar", "one of depth"),
    "another sensor than the file's": (
        ("rgb.png", "lidar.h5", "-m", "depth"),
        "holds frames of the sensor 'lidar'",
    ),
    "a modality without a file": (("rgb.png", "--modality", "depth"), "without a sensor file"),
    "an option without a file": (("rgb.png", "--depth-unit", "mm"), "(depth_unit) without a sensor file"),
    "unknown conversion option": (
        ("rgb.png", "depth.png", "--set", "depth_untt=mm"),
        "depth_untt",
        "depth_unit",
    ),
    "conversion option without a value": (("rgb.png", "depth.png", "--set", "mm"), "KEY=VALUE"),
    "unknown data set": (("rgb.png", "--dataset", "town"), "no data set 'town'", "scenes"),
    "missing model": (("rgb.png", "--model", "nothing"), "nothing: no such folder"),
    "a folder that is no model": (("rgb.png", "--model", "empty"), "empty: no model here"),
    "damaged model": (("rgb.png", "--model", "damaged"), "armseg.json", "damaged"),
    "bad device": (("rgb.png", "--device", "tpu"), "unknown device 'tpu'"),
    "bad precision": (("rgb.png", "--precision", "half"), "unknown precision 'half'"),
    "output below a file": (("rgb.png", "-o", "file/out"), "file/out", "cannot write"),
    "option typo": (("rgb.png", "--modle", "x"), "no such option: --modle. Try: --model"),
    "no image": ((), "missing argument 'image'"),
    "the former flag of the weights": (
        ("rgb.png", "--weights", "x"),
        "no such option",
        "Try: --guide-weights",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_predicted_is_one_line(name: str, armseg, place: Path) -> None:
    arguments, *words = WRONG[name]
    before = files_below(place)
    assert_refused(armseg("predict", *arguments, cwd=place), *words)
    assert files_below(place) == before


def test_without_any_run_the_command_that_makes_one_is_named(armseg, place: Path, tmp_path: Path) -> None:
    assert_refused(
        armseg("predict", place / "rgb.png", cwd=tmp_path), "no trained model found", "armseg train"
    )
    assert not list(tmp_path.iterdir())
