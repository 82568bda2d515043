"""Tensor files of armseg 0.1.0 still read as they were written; its models are refused with one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from one_line import assert_refused, files_below

OLD = Path(__file__).resolve().parent / "files_of_0_1_0"
FRAMES = {
    "thermal.percentile": "9f972c6aca26997c35b9151eb5d3a3e83de17139502d05a12b6ad0292cc4cb21",
    "events.voxel_grid": "2ba97eb4d676b6cc253287c864f560834263d775e893a2564127d59c77c05689",
}


def test_an_old_model_folder_is_refused_with_one_clear_line(
    armseg, sample_data: Path, tmp_path: Path
) -> None:
    image = sample_data / "scene_00018" / "rgb.png"
    for command in (
        ("predict", image, "--model", OLD / "model", "-o", tmp_path / "out"),
        ("eval", sample_data, "--model", OLD / "model"),
        ("predict", image, "--model", OLD / "run", "-o", tmp_path / "out"),
    ):
        assert_refused(
            armseg(*command), "armseg.json: a model of armseg 0.1.0, whose network", "Try: armseg train"
        )
    assert list(tmp_path.iterdir()) == []


def test_an_old_run_folder_does_not_go_on_and_says_why(armseg, tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD / "run", tmp_path / "runs" / "cut-001"))
    before = files_below(run)
    assert_refused(armseg("train", "--resume", run), "config.json", "armseg 0.1.0", "armseg train")
    assert files_below(run) == before


@pytest.mark.parametrize("name", FRAMES)
def test_an_old_tensor_file_reads_as_it_was_written(armseg, name: str) -> None:
    from armseg_core import SensorTensor, TensorFile

    with TensorFile(OLD / f"{name}.h5") as file:
        tensor = file.read()
    assert isinstance(tensor, SensorTensor)
    assert hashlib.sha256(tensor.frames.tobytes()).hexdigest() == FRAMES[name]
    assert tensor.info.armseg_version == "0.1.0"
    described = json.loads(armseg("inspect", OLD / f"{name}.h5", "--json").stdout)
    assert "converted" in json.dumps(described)
