"""Labels that would be lost: `check` shows them, `train` and `eval` stop or warn, and the advice works."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from one_line import assert_refused
from painted_folders import CAR, ROAD, SIZE, car_mask, painted, write_labeled
from small_models import small_model, write_clip

from armseg_core.config.training import TrainConfig
from armseg_core.data import open_dataset
from armseg_core.data.checking import check_dataset
from armseg_core.data.label_audit import audit_labels
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import ArmsegWarning, DataSetError
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.model_folder import save
from armseg_core.learning.run_folder import RunFolder

COLOR = 'encoding = "color"'
SKY = (70, 130, 180)


def with_sky(number: int, rows: int = 12) -> np.ndarray:
    picture = painted(number)
    picture[:rows] = SKY
    return picture


def smoothed(number: int) -> np.ndarray:
    half = cv2.resize(painted(number), (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(half, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_LINEAR)


def gray(value: int, stray: int | None = None) -> Callable[[int], np.ndarray]:
    """0 and `value` in three equal channels; one stray pixel of another value."""

    def make(number: int) -> np.ndarray:
        mask = np.where(car_mask(number), value, 0).astype(np.uint8)
        if stray is not None and number == 0:
            mask[0, 0] = stray
        return np.dstack([mask] * 3)

    return make


def problem(folder: Path, kind: str) -> Any:
    (found,) = [each for each in check_dataset(folder).problems if each.kind == kind]
    return found


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "dataset.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def train(armseg: Any, folder: Path, *more: str) -> Any:
    return armseg("train", folder, "--steps", "1", "--output", folder / "runs", *more)


# -- colors of no class

LOSSES = {
    "another class": (with_sky, "png", "25.00 %", "[70, 130, 180]", "ignore_colors = [[70, 130, 180]]"),
    "off by one": (
        lambda n: painted(n, (0, 0, 143)),
        "png",
        "nearest: car [0, 0, 142], 1 away",
        "[0, 0, 143]",
        "color = [0, 0, 143] for class 'car'",
    ),
    "JPEG": (painted, "jpg", "saved with loss or smoothed", "more colors", "save the labels as PNG"),
    "smoothed": (smoothed, "png", "saved with loss or smoothed", "more colors", "save the labels as PNG"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_colors_of_no_class_end_check_and_train(armseg: Any, tmp_path: Path, name: str) -> None:
    make, suffix, share, color, hint = LOSSES[name]
    folder = write_labeled(tmp_path / "data", make, extra=COLOR, suffix=suffix)
    checked = armseg("check", folder, "--json")
    assert checked.exit_code == 2
    report = json.loads(checked.stdout)
    errors = [each for each in report["problems"] if each["error"]]
    assert [each["kind"] for each in errors] == ["unknown_color"]
    assert errors[0]["count"] == 5
    assert errors[0]["examples"][0] == f"mask/a.{suffix}"
    assert "stop" in errors[0]["then"]
    for text in (share, color):
        assert text in errors[0]["what"]
    assert hint in errors[0]["hint"]
    assert "255 = 1" not in checked.stdout  # the advice for masks of numbers
    assert report["labels"]["train"]["ignored"] == 0
    assert report["labels"]["train"]["unknown"] > 0.01
    trained = train(armseg, folder)
    assert_refused(trained, f"mask/a.{suffix}", color, hint)


@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        (with_sky, COLOR, COLOR + "\nignore_colors = [[70, 130, 180]]"),
        (with_sky, "[rgb]", '[[classes]]\nname = "sky"\ncolor = [70, 130, 180]\n[rgb]'),
        (LOSSES["off by one"][0], "color = [0, 0, 142]", "color = [0, 0, 143]"),
    ],
)
def test_the_advice_on_colors_works(tmp_path: Path, make: Any, old: str, new: str) -> None:
    folder = write_labeled(tmp_path / "data", make, extra=COLOR)
    edit(folder, old, new)
    report = check_dataset(folder)
    assert report.problems == ()
    assert report.labels["train"]["unknown"] == 0


def test_ignore_colors_are_ignored_and_no_color_of_a_class(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", with_sky, extra=COLOR + "\nignore_colors = [[70, 130, 180]]")
    label = open_dataset(folder, "train").load_label(0)
    assert label is not None
    assert (label[:12] == 255).all()
    assert set(np.unique(label[12:])) == {0, 1}
    edit(folder, "[[70, 130, 180]]", str([list(CAR)]))
    with pytest.raises(DataSetError, match=r"without \[0, 0, 142\], the color of class 'car'"):
        open_dataset(folder, "train")
    edit(folder, COLOR, 'encoding = "index"')
    with pytest.raises(DataSetError, match=r"ignore_colors with label\.encoding"):
        open_dataset(folder, "train")


def few_strays(number: int) -> np.ndarray:
    picture = painted(number)
    picture[0, :5] = SKY
    return picture


def test_few_unknown_colors_are_warned_of_and_ignored(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", few_strays, extra=COLOR)
    checked = armseg("check", folder)
    assert checked.exit_code == 0
    found = problem(folder, "few_unknown_colors")
    assert found.what.startswith("0.16 % of the pixels have a color that no class has: [70, 130, 180] 0.16 %")
    label = open_dataset(folder, "train").load_label(0)
    assert label is not None
    assert (label[0, :5] == 255).all()
    trained = train(armseg, folder, "--dry-run")
    assert trained.exit_code == 0, trained.output
    assert "warning: " in trained.stderr
    assert "[70, 130, 180] 0.16 %" in trained.stderr


def test_one_bad_file_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: with_sky(n, 6 if n == 2 else 0), extra=COLOR)
    dataset = open_dataset(folder, "train")
    assert dataset.load_label(1) is not None
    with pytest.raises(DataSetError, match=r"c\.png: 12\.50 % of the pixels"):
        dataset.load_label(2)


# -- masks of numbers


@pytest.mark.parametrize("value", [255, 153])
@pytest.mark.parametrize("stray", [None, 1, 77])
def test_two_values_in_equal_channels_are_the_trap(
    armseg: Any, tmp_path: Path, value: int, stray: int | None
) -> None:
    folder = write_labeled(tmp_path / "data", gray(value, stray))
    found = problem(folder, "trap_0_255")
    assert f"0 and {value}" in found.what
    assert ("hardly" if stray == 1 else "never") + " occurs" in found.what
    assert_refused(train(armseg, folder), "mask/a.png", f"map = {{ {value} = 1 }}")
    advice = found.hint.split(" under ")[0]
    edit(folder, "[label]\n", f"[label]\n{advice}\n")
    kinds = [each.kind for each in check_dataset(folder).problems]
    assert kinds == (["label_value"] if stray == 77 else [])
    assert check_dataset(folder).labels["train"]["classes"]["car"] == pytest.approx(
        np.mean([car_mask(n).mean() for n in range(3)]), abs=0.001
    )


def test_a_value_that_is_to_be_ignored_is_no_trap(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", gray(255), extra="map = { 255 = 255 }")
    assert {each.kind for each in check_dataset(folder).errors} == {"single_class"}


def test_rare_classes_beside_ignored_pixels_are_no_trap(tmp_path: Path) -> None:
    def rare(number: int) -> np.ndarray:
        mask = np.where(car_mask(number), 255, 0).astype(np.uint8)
        mask[0, :8] = 1  # 0.26 %
        return mask

    assert check_dataset(write_labeled(tmp_path / "data", rare)).problems == ()


def test_gray_masks_that_are_called_painted(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", gray(255), extra=COLOR)
    found = problem(folder, "unknown_color")
    assert found.hint.startswith(f"remove {COLOR}")
    edit(folder, COLOR + "\n", "")
    assert problem(folder, "trap_0_255").hint.startswith("map = { 255 = 1 }")


def test_a_lossy_mask_of_numbers_is_named(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: gray(200)(n)[..., 0], suffix="jpg")
    assert "save the labels as PNG" in problem(folder, "label_value").hint


# -- nothing to learn, nothing to score


def index(number: int) -> np.ndarray:
    return car_mask(number).astype(np.uint8)


def sparse(number: int) -> np.ndarray:
    label = index(number)
    label[:10] = label[24:] = 255
    return label


def test_mostly_ignored_labels_are_warned_of(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", sparse)
    assert armseg("check", folder).exit_code == 0
    assert {each.what for each in check_dataset(folder).problems} == {
        f"70.8 % of the label pixels of split '{split}' are ignored" for split in ("train", "val", "test")
    }
    trained = train(armseg, folder, "--dry-run")
    assert trained.exit_code == 0, trained.output
    assert "70.8 % of the label pixels of split 'train' are ignored" in trained.stderr


@pytest.mark.parametrize(
    ("value", "kind", "what"),
    [
        (255, "no_labeled_pixel", "no labeled pixel in split 'train'"),
        (1, "single_class", "the labels of split 'train' hold one class only: car"),
    ],
)
def test_labels_of_which_nothing_is_learned(
    armseg: Any, tmp_path: Path, value: int, kind: str, what: str
) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.full(SIZE, value if n < 3 else n % 2, np.uint8))
    assert armseg("check", folder).exit_code == 2
    assert problem(folder, kind).what == what
    assert_refused(train(armseg, folder), what)


def test_a_class_list_of_one(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.zeros(SIZE, np.uint8), classes=("road",))
    assert armseg("check", folder).exit_code == 2
    assert problem(folder, "one_class").what == "the class list has one class only: road"
    assert_refused(train(armseg, folder), "one class only: road")


def test_all_labels_are_read_before_one_class_is_called_the_only_one(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.zeros(SIZE, np.uint8))
    for number in range(150):
        label = np.zeros(SIZE, np.uint8)
        label[0, 0] = number == 77
        for kind in ("rgb", "mask"):
            cv2.imwrite(str(folder / f"{kind}/{number}.png"), label)
    (folder / "train.txt").write_text("\n".join(map(str, range(150))))
    audit_labels(open_dataset(folder, "train"))
    cv2.imwrite(str(folder / "mask/77.png"), np.zeros(SIZE, np.uint8))
    with pytest.raises(DataSetError, match="one class only: road"):
        audit_labels(open_dataset(folder, "train"))


def test_one_class_is_a_warning_where_it_is_scored(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.zeros(SIZE, np.uint8) if n > 2 else index(n))
    with pytest.warns(ArmsegWarning, match="split 'val' hold one class only: road"):
        audit_labels(open_dataset(folder, "val"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audit_labels(open_dataset(folder, "train"))
    report = check_dataset(folder)
    assert {each.kind for each in report.problems} == {"single_class_scored", "empty_class"}
    assert report.ok


def test_check_shows_the_share_of_the_images_too(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: index(n) * (n != 0))
    labels = check_dataset(folder).labels
    assert labels["train"]["images"] == {"road": 1.0, "car": pytest.approx(2 / 3)}
    assert "66.67 %" in armseg("check", folder).stdout


def test_a_finding_says_what_armseg_does(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", with_sky, extra=COLOR)
    printed = re.sub(r"\s+", " ", armseg("check", folder).stdout)
    assert "what happens" in printed
    assert "train and eval" in printed


# -- eval


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of an untrained model for road and car."""
    folder = tmp_path_factory.mktemp("run")
    known = KnownDataSet("labeled", (ClassInfo("road", ROAD), ClassInfo("car", CAR)))
    made = RunFolder.create(TrainConfig(data=(folder,), modalities=("thermal",), out=folder / "runs"))
    clip = write_clip(folder / "clip", layers=2)
    save(small_model(clip, ("thermal",), datasets=(known,)), made.folder / "best")
    return made.folder


def test_eval_stops_at_colors_of_no_class(armseg: Any, run: Path, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", with_sky, extra=COLOR)
    assert_refused(armseg("eval", folder, "--model", run), "mask/e.png", "[70, 130, 180] 25.00 %")


def test_eval_warns_of_one_class_and_prints_no_nan(armseg: Any, run: Path, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.zeros(SIZE, np.uint8))
    result = armseg("eval", folder, "--model", run)
    assert result.exit_code == 0, result.output
    assert "hold one class only: road" in result.stderr
    assert "nan" not in result.stdout.lower()


def test_eval_of_labels_that_are_all_ignored_stops(armseg: Any, run: Path, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.full(SIZE, 255, np.uint8))
    assert_refused(armseg("eval", folder, "--model", run), "no labeled pixel in split 'test'")


def test_a_row_without_a_labeled_pixel_is_null_and_said_in_words(
    armseg: Any, run: Path, tmp_path: Path
) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.full(SIZE, 255, np.uint8) if n == 4 else index(n))
    (folder / "test.txt").write_text("d\ne\n")
    (folder / "thermal/d.png").unlink()  # only e has the sensor, and e is all ignored
    result = armseg("eval", folder, "--model", run)
    assert result.exit_code == 0, result.output
    assert "no labeled pixel" in result.stdout
    assert "nan" not in result.stdout.lower()
    text = (run / "metrics/eval_test.json").read_text()
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [row["miou"] is None for row in report["rows"]] == [False, True, True]


def test_a_validation_without_a_labeled_pixel_with_the_sensor(armseg: Any, tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "data", lambda n: np.full(SIZE, 255, np.uint8) if n == 4 else index(n))
    (folder / "val.txt").write_text("d\ne\n")
    (folder / "test.txt").unlink()
    edit(folder, 'test = "test.txt"\n', "")
    (folder / "thermal/d.png").unlink()
    result = train(armseg, folder, "--batch-size", "1")
    assert result.exit_code == 0, result.output
    assert "no labeled pixel" in result.stdout
    run_folder = folder / "runs/train-001"
    for path in (*run_folder.rglob("*.json"), *run_folder.rglob("*.jsonl")):
        for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    for path in (*run_folder.glob("*.csv"), *run_folder.glob("*.txt")):
        assert not re.search(r"\bnan\b", path.read_text())
    assert (run_folder / "best").is_dir()
