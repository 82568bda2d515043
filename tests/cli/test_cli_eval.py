"""`armseg eval`: the table, the saved report, and every choice that cannot be measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from one_line import assert_refused, files_below
from small_models import shake, small_model, write_clip
from toy_scenes import write_scenes

from armseg_core.config.training import TrainConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.learning.model_folder import KnownDataSet, save
from armseg_core.learning.run_folder import RunFolder

SCENES = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))


def write_run(place: Path, clip: dict[str, str], data: Path) -> Path:
    """A run folder as training leaves it, with an untrained model in best/ and another in last/."""
    run = RunFolder.create(TrainConfig(data=(data,), modalities=("depth",), out=place / "runs"))
    for name, seed in (("last", 1), ("best", 2)):
        model = small_model(clip, ("depth",), seed=seed, datasets=(SCENES,))
        shake(model.segmenter, scale=0.3, seed=seed)
        save(model, run.folder / name)
    return run.folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its data, other data and folders that are wrong."""
    folder = tmp_path_factory.mktemp("place")
    clip = write_clip(folder / "clip", layers=2)
    write_scenes(folder / "data", {"train": 2, "test": 3})
    run = write_run(folder, clip, folder / "data")
    other = write_scenes(folder / "other", {"test": 2}, name="other")
    toml = other / "dataset.toml"
    toml.write_text(toml.read_text().replace('"far"', '"distant"'))
    shutil.copytree(run / "best", folder / "model")
    shutil.copytree(run / "best", folder / "damaged")
    (folder / "damaged" / "segmenter.safetensors").write_bytes(b"123")
    (folder / "empty").mkdir()
    return folder


def test_the_table_of_the_newest_run(armseg, place: Path) -> None:
    result = armseg("eval", cwd=place)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["class", "rgb", "rgb+depth"] in lines
    rows = {line[0]: line[1:] for line in lines if line and line[0] in ("near", "far", "samples")}
    assert rows["samples"] == ["3", "3"]
    report = json.loads((place / "runs" / "train-001" / "metrics" / "eval_test.json").read_text())
    assert report["model"].endswith("best")
    for name in ("near", "far"):
        assert rows[name] == [f"{row['iou'][name]:.1%}" for row in report["rows"]]
    assert any(line[:1] == ["mIoU"] and line[1] == "(2" for line in lines)
    assert any(line[:2] == ["pixel", "accuracy"] for line in lines)
    assert "Next: armseg predict" in result.stdout
    assert result.stderr == ""


def test_json_is_the_saved_report(armseg, place: Path) -> None:
    result = armseg("eval", "runs/train-001", "--split", "train", "--controls", "--json", cwd=place)
    printed = json.loads(result.stdout)
    assert [row["inputs"] for row in printed["rows"]] == [
        "rgb",
        "rgb+depth",
        "depth",
        "rgb+depth (other scene)",
    ]
    assert printed == json.loads((place / "runs" / "train-001" / "metrics" / "eval_train.json").read_text())


def test_last_and_best_are_told_apart(armseg, place: Path) -> None:
    reports = [
        json.loads(armseg("eval", f"runs/train-001/{name}", "--json", cwd=place).stdout)
        for name in ("best", "last")
    ]
    assert [r["model"].rpartition("/")[2] for r in reports] == ["best", "last"]
    assert reports[0]["rows"] != reports[1]["rows"]


def test_a_model_folder_on_other_data_writes_nothing(armseg, place: Path) -> None:
    before = files_below(place)
    result = armseg(
        "eval", "model", "--data", "data", "--modalities", "rgb", "--size", "32x24", "--json", cwd=place
    )
    assert [row["inputs"] for row in json.loads(result.stdout)["rows"]] == ["rgb"]
    assert files_below(place) == before


def test_a_run_is_measured_from_any_folder(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("eval", place / "runs" / "train-001", "--json", cwd=tmp_path)
    assert result.exit_code == 0, result.output


WRONG = {
    "no run": (("--split", "val"), "empty", "no trained model found", "armseg train"),
    "missing model": (("nothing",), "", "nothing: no such folder"),
    "a folder that is no model": (("empty",), "", "empty: no model here"),
    "damaged model": (("damaged", "--data", "data"), "", "segmenter.safetensors", "damaged"),
    "a model folder without data": (("model",), "", "no data set given", "--data FOLDER"),
    "missing data": (("model", "--data", "nothing"), "", "nothing: no such folder"),
    "data of other classes": (("model", "--data", "other"), "", "classes of 'other'", "scenes: near, far"),
    "unknown split": (("model", "--data", "data", "--split", "tset"), "", "no split 'tset'", "train, test"),
    "unknown modality": (("model", "--data", "data", "--modalities", "dept"), "", "unknown modality 'dept'"),
    "modality of no use": (
        ("model", "--data", "data", "--modalities", "thermal"),
        "",
        "not trained with thermal",
    ),
    "bad size": (("model", "--data", "data", "--size", "4"), "", "'4' is not a size"),
    "bad device": (("model", "--data", "data", "--device", "tpu"), "", "unknown device 'tpu'"),
    "bad precision": (("model", "--data", "data", "--precision", "half"), "", "unknown precision 'half'"),
    "missing weights": (
        ("model", "--data", "data", "--weights", "nothing"),
        "",
        "no such file of CLIP weights",
    ),
    "weights of another CLIP": (
        ("model", "--data", "data", "--weights", "data/dataset.toml"),
        "",
        "cannot be read",
    ),
    "option typo": (("model", "--dta", "data"), "", "no such option: --dta. Try: --data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_measured_is_one_line(name: str, armseg, place: Path) -> None:
    arguments, below, *words = WRONG[name]
    before = files_below(place)
    assert_refused(armseg("eval", *arguments, cwd=place / below), *words)
    assert files_below(place) == before
