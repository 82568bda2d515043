"""What a hint or a 'Next:' line says is typed, in a folder whose name needs quoting, and it works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dataset_writer import write_folder_dataset
from run_folders import SCENES, write_run
from small_models import SMALL, TOY, small_model, write_clip
from toy_scenes import write_scenes

from armseg_core import advice
from armseg_core.learning import training
from armseg_core.learning.model_folder import save

AWKWARD = "Größe ~ a [1]"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip that the runs below are built on."""
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder, layers=2)
    return folder


@pytest.fixture
def place(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a data set and raw files, and a folder of an awkward name."""
    monkeypatch.chdir(tmp_path)
    write_scenes(tmp_path / AWKWARD / "scenes", {"train": 2, "val": 2, "test": 2})
    shutil.copytree(source, tmp_path / AWKWARD / "clip")
    return tmp_path / AWKWARD


def a_run(place: Path) -> Path:
    clip = {"guide": str(place / "clip/clip.json"), "guide_weights": str(place / "clip/clip.safetensors")}
    return write_run(place, clip, place / "scenes").relative_to(place.parent)


def small(place: Path, data: str = "scenes") -> list[object]:
    """`train` of two steps with the small CLIP."""
    settings = {**{f"model.{key}": value for key, value in SMALL.items()}, "warmup": 1}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    clip = ["--guide", place / "clip/clip.json", "--guide-weights", place / "clip/clip.safetensors"]
    run = ["--batch-size", "2", "--crop", "32x32", "--steps", "2", "--output", place / "runs"]
    return ["train", place / data, *clip, *flags, *run]


def without_test(place: Path) -> None:
    write_scenes(place / "two", {"train": 2, "val": 2}, name="two")


# -- what fails, or says what comes next; each gives the command line


def parent_of_data_sets(place: Path) -> list[object]:
    return ["check", place.relative_to(place.parent)]


def eval_without_the_split(place: Path) -> list[object]:
    run = a_run(place)
    without_test(place)
    return ["eval", place / "two", "--model", run]


def train_without_test_split(place: Path) -> list[object]:
    without_test(place)
    return small(place, "two")


def train_with_one_split(place: Path) -> list[object]:
    write_scenes(place / "one", {"train": 2}, name="one")
    return small(place, "one")


def a_training(place: Path) -> list[object]:
    return small(place)


def an_evaluation(place: Path) -> list[object]:
    return ["eval", "--model", a_run(place)]


def an_evaluation_of_rgb(place: Path) -> list[object]:
    return ["eval", "--model", a_run(place), "--modalities", "rgb"]


def a_prediction(place: Path) -> list[object]:
    run = a_run(place)
    return ["predict", place / "scenes/rgb/test0.png", "--model", run, "-o", place / "out"]


def a_sensor_without_its_file(place: Path) -> list[object]:
    run = a_run(place)
    shutil.move(run.parent, place.parent / "runs")  # the newest run is the default
    return ["predict", place / "scenes/rgb/test0.png", "--modality", "depth"]


def a_frame_of_another_shape(place: Path) -> list[object]:
    cv2.imwrite(str(place / "depth.png"), np.full((20, 60), 2000, np.uint16))
    return ["predict", place / "scenes/rgb/test0.png", place / "depth.png", "--model", a_run(place)]


def a_model_as_data(place: Path) -> list[object]:
    return ["eval", place / "scenes", a_run(place)]


def inspect_with_options(place: Path) -> list[object]:
    (place / "x.png").write_bytes((place / "scenes/depth/test0.png").read_bytes())
    return ["inspect", place / "x.png", "-m", "depth", "--depth-unit", "mm"]


def visualize_with_options(place: Path) -> list[object]:
    return ["visualize", *inspect_with_options(place)[1:], "-r", "metric", "-o", place / "v.png"]


def a_format_of_several_sensors(place: Path) -> list[object]:
    path = place / "x.tiff"
    cv2.imwrite(str(path), np.linspace(270, 310, 48 * 64, dtype=np.float32).reshape(48, 64))
    return ["inspect", path]


def convert_twice(place: Path) -> list[object]:
    write_folder_dataset(place / "made", modalities=("depth",))
    return ["convert", next((place / "made").rglob("depth*.h5"))]


def a_run_as_picture(place: Path) -> list[object]:
    run = a_run(place)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0, "lr": 0.1}) + "\n")
    return ["visualize", run]


def a_sample(place: Path) -> list[object]:
    return ["visualize", place / "scenes", "-o", place / "sample.png"]


def simulated(place: Path) -> list[object]:
    return ["simulate", place / "made", "--scenes", "3", "--size", "32x32", "--modalities", "depth"]


CASES: dict[str, tuple[Callable[[Path], list[object]], int]] = {
    case.__name__: (case, code)
    for case, code in (
        (parent_of_data_sets, 2),
        (eval_without_the_split, 2),
        (train_without_test_split, 0),
        (train_with_one_split, 0),
        (a_training, 0),
        (an_evaluation, 0),
        (an_evaluation_of_rgb, 0),
        (a_prediction, 0),
        (a_sensor_without_its_file, 2),
        (a_frame_of_another_shape, 2),
        (a_model_as_data, 2),
        (inspect_with_options, 0),
        (visualize_with_options, 0),
        (a_format_of_several_sensors, 2),
        (convert_twice, 2),
        (a_run_as_picture, 0),
        (a_sample, 0),
        (simulated, 0),
    )
}


def advised(result: Any, arguments: list[object]) -> list[object]:
    """The command line that the output tells to type; flags stand for the same command with them."""
    found = re.search(r"(?:Try|Next|go on with): (.*)", result.output)
    assert found, result.output
    words = shlex.split(re.split(r" lists |   \(| to | or ", found[1])[0])
    return words[1:] if words[0] == "armseg" else [*arguments, *words]


@pytest.mark.parametrize("name", CASES)
def test_advice_works(name: str, armseg, place: Path) -> None:
    case, code = CASES[name]
    arguments = case(place)
    first = armseg(*arguments)
    assert first.exit_code == code, f"{first.output}{first.exception!r}"
    given = advised(first, arguments)
    given = [place / "scenes/depth/test0.png" if word == "SENSOR_FILE" else word for word in given]
    given += ["--dry-run"] if given[0] == "train" else []
    then = armseg(*given)
    assert then.exit_code == 0, f"{given}: {then.output}{then.exception!r}"


def test_a_run_goes_on_with_weights_that_have_moved(armseg, place: Path) -> None:
    assert armseg(*small(place)).exit_code == 0
    run, weights, moved = (
        place / "runs/train-001",
        place / "clip/clip.safetensors",
        place / "moved.safetensors",
    )
    weights.rename(moved)
    arguments: list[object] = ["train", "--resume", run]
    first = armseg(*arguments)
    assert "no such file of CLIP weights" in first.stderr
    given = [moved if word == "FILE" else word for word in advised(first, arguments)]
    assert armseg(*given).exit_code == 0
    assert armseg("train", "--resume", run).exit_code == 0  # it is recorded
    other = write_clip(place / "other", seed=1, layers=2)["guide_weights"]
    refused = armseg("train", "--resume", run, "--guide-weights", other)
    assert refused.exit_code == 2
    assert "not those the run began with" in refused.stderr
    assert json.loads((run / "config.json").read_text())["model"]["guide_weights"] == str(moved.absolute())


def test_a_run_goes_on_with_other_workers_and_device(armseg, place: Path) -> None:
    assert armseg(*small(place), "--device", "cpu").exit_code == 0
    result = armseg("train", "--resume", "--output", place / "runs", "--workers", "1", "--device", "auto")
    assert result.exit_code == 0, result.output
    config = json.loads((place / "runs/train-001/config.json").read_text())
    assert (config["workers"], config["device"]) == (1, "auto")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("_prepare", "interrupted: nothing was written"),
        ("training_step", "interrupted: stopped before anything was saved in "),
    ],
)
def test_ctrl_c_before_anything_is_saved_does_not_speak_of_resume(
    where: str, says: str, armseg, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, where, stop)
    result = armseg(*small(place))
    assert result.exit_code == 130
    assert result.stderr.startswith(says)
    assert "--resume" not in result.stderr


def test_problems_of_a_data_set_are_all_listed_by_the_command_that_is_told(armseg, place: Path) -> None:
    toml = place / "scenes/dataset.toml"
    toml.write_text(toml.read_text().replace("[label]", '[label]\nencoding = "rgb"\nmop = 1'))
    first = armseg("train", place / "scenes")
    assert "'label.encoding' is 'rgb' (expected index or color)" in first.stderr
    then = armseg(*advised(first, []))
    assert then.exit_code == 2
    assert "unknown name 'label.mop'" in then.stdout
    assert "after correcting the errors" in then.stdout


def test_the_path_that_is_told_for_ids_with_folders_finds_the_files(armseg, place: Path) -> None:
    scenes = place / "scenes"
    for kind in ("rgb", "label", "depth"):
        for old in sorted((scenes / kind).iterdir()):
            new = scenes / kind / "seq_A" / f"L_{old.name}"
            new.parent.mkdir(exist_ok=True)
            old.rename(new)
    for split in (scenes / "splits").iterdir():
        split.write_text("".join(f"seq_A/{line}\n" for line in split.read_text().split()))
    toml = scenes / "dataset.toml"
    toml.write_text(toml.read_text().replace("/{id}.png", "/L_{id}.png"))
    report = armseg("check", scenes, "--json")
    assert report.exit_code == 2, report.output
    hint = json.loads(report.stdout)["problems"][0]["hint"]
    assert "{parent} is seq_A, {stem} is " in hint
    told = re.search(r'path = "rgb/(.*?)"', hint)
    assert told
    toml.write_text(toml.read_text().replace("/L_{id}.png", f"/{told[1]}"))
    assert armseg("check", scenes).exit_code == 0


def test_a_star_in_a_path_is_refused_by_name(armseg, place: Path) -> None:
    toml = place / "scenes/dataset.toml"
    toml.write_text(toml.read_text().replace('"rgb/{id}.png"', '"rgb/{id}*.png"'))
    result = armseg("train", place / "scenes")
    assert result.exit_code == 2
    assert "{id}, {parent} and {stem} instead of '*'" in result.stderr


def test_an_option_of_a_sensor_is_told_for_dataset_toml(armseg, place: Path) -> None:
    toml = place / "scenes/dataset.toml"
    toml.write_text(toml.read_text().replace('depth_unit = "mm"', ""))
    for path in (place / "scenes/depth").iterdir():
        cv2.imwrite(str(path), np.full((40, 48), 20, np.uint8))
    result = armseg("check", place / "scenes", "--json")
    hints = [problem["hint"] for problem in json.loads(result.stdout)["problems"]]
    assert any("under [modalities.depth] in dataset.toml" in hint for hint in hints), hints


def test_a_model_of_several_data_sets_says_whose_classes_it_uses(armseg, place: Path) -> None:
    clip = {"guide": str(place / "clip/clip.json"), "guide_weights": str(place / "clip/clip.safetensors")}
    save(small_model(clip, (), datasets=(SCENES, TOY)), place / "model")
    arguments = ["predict", place / "scenes/rgb/test0.png", "--model", place / "model", "-o", place / "out"]
    assert "classes: of scenes (--dataset takes those of: toy)" in armseg(*arguments).stdout
    values = json.loads(armseg(*arguments, "--dataset", "TOY", "--json").stdout)
    assert values["dataset"] == "toy"
    assert set(values["shares"]) <= {"ground", "car", "person"}
    assert "one of scenes, toy" in armseg(*arguments, "--dataset", "tox").stderr


def test_at_is_refused_where_there_is_no_time(armseg, place: Path) -> None:
    run, image, depth = a_run(place), place / "scenes/rgb/test0.png", place / "scenes/depth/test0.png"
    still = armseg("predict", image, depth, "--at", "5", "--model", run)
    assert (still.exit_code, "Try: leave --at out" in still.stderr) == (2, True), still.output
    alone = armseg("predict", image, "--at", "5", "--model", run)
    assert "--at 5 without a sensor file" in alone.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("check", Path("a b")), "armseg check 'a b'"),
        (("check", Path("-x")), "armseg check ./-x"),
        (("check", Path("~x")), "armseg check '~x'"),
        (("eval", "--model", Path("ä[1]")), "armseg eval --model 'ä[1]'"),
        (("eval", "DATA"), "armseg eval DATA"),
    ],
)
def test_a_command_is_quoted(words: tuple[object, ...], line: str) -> None:
    assert advice.command(*words) == line


def test_flags_of_a_recording_are_repeated() -> None:
    options = {
        "sensor_size": "346x260",
        "rectify": False,
        "bits": 12,
        "size": (3, 4),
        "unit": None,
        "f": "no",
    }
    assert advice.sensor_flags("event", None, options) == [
        *("--modality", "event", "--sensor-size", "346x260", "--no-rectify", "--bits", 12),
        *("--size", "4x3", "--set", "f=no"),
    ]
