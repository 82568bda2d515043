"""Declared sensors through the commands, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from declared_folder import NIR, write_declared

SMALL = ("steps=2", "batch_size=2", "eval_every=2")


def run(*words: object, cwd: Path, code: int = 0) -> str:
    """stdout of a command in a fresh process; stderr where it is to fail."""
    command = [sys.executable, "-m", "armseg_cli", *map(str, words)]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    return ended.stderr if code else ended.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and a run of 2 steps with both sensors, its batches made in a spawned worker."""
    root = tmp_path_factory.mktemp("declared")
    write_declared(root / "data")
    settings = [word for setting in (*SMALL, "workers=1") for word in ("--set", setting)]
    run("train", "data", "--modalities", "radar,nir", *settings, "-o", "runs", "--device", "cpu", cwd=root)
    return root


@pytest.mark.slow
def test_the_model_remembers_what_was_declared(trained: Path) -> None:
    recorded = json.loads((trained / "runs/train-001/last/armseg.json").read_text())
    assert recorded["modalities"]["radar"] == {
        "channels": ["vv", "vh"],
        "declared": {"channels": ["vv", "vh"], "words": "radar", "validity": False},
    }
    assert recorded["datasets"][0]["options"]["nir"] == {"range": [0, 4000], "nodata": 0}


@pytest.mark.slow
def test_predict_knows_it_from_the_model(trained: Path) -> None:
    shutil.copy(trained / "data/nir/test0.png", trained / "some.png")
    words = ("predict", "data/rgb/test0.png", "some.png", "--model", "runs/train-001", "--json", "--force")
    found = json.loads(run(*words, "--modality", "nir", cwd=trained))
    assert found["sensors"] == {"nir": "option"}
    assert "unknown modality 'nit'" in run(*words, "--modality", "nit", cwd=trained, code=2)
    radar = (
        "predict",
        "data/rgb/test0.png",
        "data/radar/test0.npy",
        "--model",
        "runs/train-001",
        "--json",
        "--force",
    )
    found = json.loads(run(*radar, cwd=trained))
    assert found["sensors"] == {"radar": "file"}


@pytest.mark.slow
def test_eval_and_visualize(trained: Path) -> None:
    found = json.loads(run("eval", "data", "--modalities", "nir", "--json", "--device", "cpu", cwd=trained))
    assert [row["inputs"] for row in found["rows"]] == ["rgb", "rgb+nir"]
    run("visualize", "data", "-o", "sample.png", cwd=trained)
    assert (trained / "sample.png").is_file()


@pytest.mark.slow
def test_resuming_knows_it_from_the_data(trained: Path) -> None:
    shutil.copytree(trained / "runs/train-001", trained / "runs/again")
    run("train", "--resume", "runs/again", "--device", "cpu", cwd=trained)


def test_looking_at_one_outside_its_data_set(armseg, tmp_path: Path) -> None:
    write_declared(tmp_path / "data", {"train": 1}, NIR)
    file = tmp_path / "data/radar/train0.npy"
    shown = json.loads(armseg("inspect", file, "--modality", "image", "--json").stdout)
    assert (shown["bands"], shown["dtype"], shown["size"]) == (2, "float32", "48x40")
    refused = armseg("inspect", file, "--modality", "nir", cwd=tmp_path)
    assert refused.exit_code == 2
    made = armseg(
        "convert", tmp_path / "data/radar", "--modality", "image", "--range", "0,4000", cwd=tmp_path
    )
    assert made.exit_code == 0, made.stderr
    assert list(tmp_path.rglob("train0.image.h5"))
    drawn = armseg(
        "visualize", file, "-m", "image", "--bands", "2", "--set", "percentiles=1,99", cwd=tmp_path
    )
    assert drawn.exit_code == 0, drawn.stderr


def test_the_check_counts_them(armseg, tmp_path: Path) -> None:
    write_declared(tmp_path / "data", {"train": 2, "val": 1})
    found = json.loads(armseg("check", tmp_path / "data", "--json").stdout)
    assert found["sensors"]["train"] == {"radar": 2, "nir": 2}
