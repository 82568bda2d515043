"""`armseg eval`: the table, the saved report, and every choice that cannot be measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from one_line import assert_refused, files_below
from run_folders import write_run
from small_models import write_clip
from toy_scenes import write_scenes


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
    result = armseg(
        "eval", "--model", "runs/train-001", "--split", "train", "--controls", "--json", cwd=place
    )
    printed = json.loads(result.stdout)
    assert [row["inputs"] for row in printed["rows"]] == [
        "rgb",
        "rgb+depth",
        "depth",
        "rgb+depth (other scene)",
    ]
    saved = json.loads((place / "runs" / "train-001" / "metrics" / "eval_train.json").read_text())
    assert saved.pop("seal").startswith("armseg-sha256:")
    assert printed == saved


def test_the_rows_that_are_asked_for(armseg, place: Path) -> None:
    wanted = ("--inputs", "depth", "--inputs", "rgb+depth")
    result = armseg("eval", "data", "--model", "model", *wanted, "--json", cwd=place)
    assert result.exit_code == 0, result.output
    found = {row["inputs"]: row for row in json.loads(result.stdout)["rows"]}
    assert list(found) == ["depth", "rgb+depth"]
    every = armseg("eval", "data", "--model", "model", "--controls", "--json", cwd=place)
    assert found.items() <= {row["inputs"]: row for row in json.loads(every.stdout)["rows"]}.items()


def test_last_and_best_are_told_apart(armseg, place: Path) -> None:
    reports = [
        json.loads(armseg("eval", "--model", f"runs/train-001/{name}", "--json", cwd=place).stdout)
        for name in ("best", "last")
    ]
    assert [r["model"].rpartition("/")[2] for r in reports] == ["best", "last"]
    assert reports[0]["rows"] != reports[1]["rows"]


def test_a_model_folder_on_other_data_writes_nothing(armseg, place: Path) -> None:
    before = files_below(place)
    result = armseg(
        "eval", "data", "--model", "model", "--modalities", "rgb", "--size", "32x24", "--json", cwd=place
    )
    assert [row["inputs"] for row in json.loads(result.stdout)["rows"]] == ["rgb"]
    assert files_below(place) == before


def test_a_run_is_measured_from_any_folder(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("eval", "--model", place / "runs" / "train-001", "--json", cwd=tmp_path)
    assert result.exit_code == 0, result.output


WRONG = {
    "no run": (("--split", "val"), "empty", "no trained model found", "armseg train"),
    "missing model": (("--model", "nothing"), "", "nothing: no such folder"),
    "a folder that is no model": (("--model", "empty"), "", "empty: no model here"),
    "damaged model": (("data", "--model", "damaged"), "", "segmenter.safetensors", "damaged"),
    "a model folder without data": (("--model", "model"), "", "no data set given", "armseg eval DATA"),
    "missing data": (("nothing", "--model", "model"), "", "nothing: no such folder"),
    "data of other classes": (("other", "--model", "model"), "", "classes of 'other'", "scenes: near, far"),
    "unknown split": (("data", "--model", "model", "--split", "tset"), "", "no split 'tset'", "train, test"),
    "unknown modality": (("data", "--model", "model", "--modalities", "dept"), "", "unknown modality 'dept'"),
    "modality of no use": (
        ("data", "--model", "model", "--modalities", "thermal"),
        "",
        "not trained with thermal",
    ),
    "inputs that are none": (("data", "--model", "model", "--inputs", "+"), "", "no inputs"),
    "inputs of an unknown sensor": (
        ("data", "--model", "model", "--inputs", "rgb+dept"),
        "",
        "unknown modality 'dept'",
    ),
    "inputs of no use": (("data", "--model", "model", "--inputs", "thermal"), "", "not trained with thermal"),
    "inputs and controls": (
        ("data", "--model", "model", "--inputs", "depth", "--controls"),
        "",
        "--controls beside --inputs",
    ),
    "inputs and modalities": (
        ("data", "--model", "model", "--inputs", "depth", "--modalities", "depth"),
        "",
        "--modalities beside --inputs",
    ),
    "bad size": (("data", "--model", "model", "--size", "4"), "", "'4' is not a size"),
    "bad device": (("data", "--model", "model", "--device", "tpu"), "", "unknown device 'tpu'"),
    "bad precision": (("data", "--model", "model", "--precision", "half"), "", "unknown precision 'half'"),
    "missing weights": (
        ("data", "--model", "model", "--guide-weights", "nothing"),
        "",
        "no such file of CLIP weights",
    ),
    "weights of another CLIP": (
        ("data", "--model", "model", "--guide-weights", "data/dataset.toml"),
        "",
        "cannot be read",
    ),
    "option typo": (("data", "--modle", "model"), "", "no such option: --modle. Try: --model"),
    "the former order": (
        ("runs/train-001", "--split", "val"),
        "",
        "runs/train-001: is a model and not a data set. Try: armseg eval --model runs/train-001",
    ),
    "a model among the data sets": (
        ("data", "model"),
        "",
        "model: is a model and not a data set. Try: armseg eval data --model model",
    ),
    "the former flag": (
        ("model", "--data", "data"),
        "",
        "no such option: --data. Try: armseg eval DATA --model RUN",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_measured_is_one_line(name: str, armseg, place: Path) -> None:
    arguments, below, *words = WRONG[name]
    before = files_below(place)
    assert_refused(armseg("eval", *arguments, cwd=place / below), *words)
    assert files_below(place) == before
