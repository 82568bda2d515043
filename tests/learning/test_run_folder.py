"""The run folder: what is found in it, and that its names are known in one place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, FormatError
from armseg_core.learning.run_folder import RunFolder, find_model, is_model_folder


def touch_model(folder: Path, time: int) -> None:
    folder.mkdir(parents=True)
    (folder / "armseg.json").write_text("{}")
    os.utime(folder / "armseg.json", (time, time))


def touch_state(folder: Path, time: int) -> None:
    (folder / "resume").mkdir(parents=True)
    (folder / "resume" / "state.json").write_text("{}")
    os.utime(folder / "resume" / "state.json", (time, time))


# -- finding


def test_find_model_takes_a_model_folder_or_the_best_of_a_run(tmp_path: Path) -> None:
    touch_model(tmp_path / "run" / "last", 2)
    assert find_model(tmp_path / "run") == tmp_path / "run" / "last"
    touch_model(tmp_path / "run" / "best", 1)
    assert find_model(str(tmp_path / "run")) == tmp_path / "run" / "best"
    assert find_model(tmp_path / "run" / "last") == tmp_path / "run" / "last"
    with pytest.raises(CheckpointError, match="no model here"):
        find_model(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        find_model(tmp_path / "nothing")


def test_newest_is_the_one_whose_model_was_written_last(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no trained model found.*armseg train"):
        RunFolder.newest(tmp_path / "runs")
    touch_model(tmp_path / "runs" / "train-001" / "last", 30)
    touch_model(tmp_path / "runs" / "train-001" / "best", 10)
    touch_model(tmp_path / "runs" / "train-002" / "best", 20)
    touch_model(tmp_path / "runs" / "train-002" / "other", 99)
    (tmp_path / "runs" / "notes.txt").touch()
    assert RunFolder.newest(tmp_path / "runs").folder == tmp_path / "runs" / "train-001"


def test_resumable_runs_end_with_the_one_saved_last(tmp_path: Path) -> None:
    assert RunFolder.resumable(tmp_path / "runs") == []
    touch_state(tmp_path / "a-001", 30)
    touch_state(tmp_path / "a-002", 20)
    touch_state(tmp_path / "b-001", 40)
    touch_model(tmp_path / "c-001" / "last", 50)
    names = [run.folder.name for run in RunFolder.resumable(tmp_path)]
    assert names == ["a-002", "a-001", "b-001"]
    assert [run.folder.name for run in RunFolder.resumable(tmp_path, "a-*")] == ["a-002", "a-001"]


def test_what_belongs_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(TrainConfig(out=tmp_path))
    assert RunFolder.of(run.folder) is None  # options alone: other programs write a config.json, too
    run.record({"step": 1, "loss": 2.0})
    touch_model(run.best, 1)
    touch_model(tmp_path / "elsewhere", 1)

    def owner(path: Path | str) -> Path | None:
        found = RunFolder.of(path)
        return None if found is None else found.folder.resolve()

    for path in (run.folder, run.best, run.folder / "metrics.jsonl"):
        assert owner(path) == run.folder
    for path in (tmp_path, tmp_path / "elsewhere", run.folder / "metrics.csv", run.folder / "metrics"):
        assert owner(path) is None
    monkeypatch.chdir(run.best)
    assert owner(".") == run.folder
    monkeypatch.chdir(run.folder)
    assert owner("best") == run.folder
    assert owner("metrics.jsonl") == run.folder


@pytest.mark.parametrize("made", ["log.txt", "best", "last", "resume/state.json"])
def test_a_run_without_numbers_is_one_by_what_lies_beside_its_options(tmp_path: Path, made: str) -> None:
    run = RunFolder.create(TrainConfig(out=tmp_path))
    assert not run.exists()
    (run.folder / made).mkdir(parents=True)
    assert run.exists()


# -- what it holds


def test_the_data_it_was_trained_on(tmp_path: Path) -> None:
    run = RunFolder.create(TrainConfig(data=(tmp_path / "a", tmp_path / "b"), out=tmp_path))
    assert run.data == [tmp_path / "a", tmp_path / "b"]
    (run.folder / "config.json").write_text("{")
    assert run.data == []
    assert RunFolder(tmp_path / "nothing").data == []


def test_rows_leave_out_what_a_crash_tore(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.rows() == []
    for step in (1, 2, 3):
        run.record({"step": step, "loss": 0.5, "extra": 1})
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'7\n{"step": 4, "l\xff')
    assert [row["step"] for row in run.rows()] == [1, 2, 3]
    run.rewind(2)
    assert [row["step"] for row in run.rows()] == [1, 2]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["1,,0.5,,,,", "2,,0.5,,,,"]


def test_the_confusion_matrix_is_what_was_saved(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.confusion() is None
    run.save_confusion({"matrix": [[1]]})
    assert run.confusion() == {"matrix": [[1]]}
    (tmp_path / "metrics" / "confusion.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        run.confusion()


def test_files_that_others_write_into_a_run() -> None:
    run = RunFolder("runs/x-001")
    assert run.plot("curves") == Path("runs/x-001/plots/curves.png")
    assert run.eval_report("test") == Path("runs/x-001/metrics/eval_test.json")


def test_options_are_kept(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path, steps=7)
    run = RunFolder.create(config)
    assert TrainConfig.parse(json.loads((run.folder / "config.json").read_text())) == config
    assert not is_model_folder(run.folder)
    with pytest.raises(CheckpointError, match="stopped before anything was saved"):
        RunFolder.reopen(run.folder)
    touch_state(run.folder, 1)
    assert RunFolder.reopen(run.folder)[1] == config


# -- one place

OWNER = "armseg_core/learning/run_folder.py"
FILES = {"config.json", "metrics.jsonl", "metrics.csv", "state.json", "confusion.json", "log.txt"}
FOLDERS = {"best", "last", "resume", "plots", "metrics"}


def names_in(tree: ast.AST) -> set[str]:
    """Names of a run folder in string constants that can be paths: file names anywhere, and the names of its
    folders (which are common words) where a path is joined or has a slash."""
    joined = {
        id(side)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        for side in (node.left, node.right)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            parts = set(node.value.strip("\n").split("/"))
            found |= FILES & parts
            if len(parts) > 1 or id(node) in joined:
                found |= FOLDERS & parts
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('run / "best"', {"best"}),
        ('f"{run}/last"', {"last"}),
        ('out.glob("*/resume/state.json")', {"resume", "state.json"}),
        ('{"best": 1, "metrics": 2}', set()),
        ('print("best/ and last/ are model folders")', set()),
    ],
)
def test_names_in_code_are_seen(code: str, expected: set[str]) -> None:
    assert names_in(ast.parse(code)) == expected


def test_the_names_of_a_run_folder_are_known_in_one_module() -> None:
    files = [
        p for room in ("armseg_core", "armseg_cli", "benchmarks") for p in (REPOSITORY / room).rglob("*.py")
    ]
    found = {str(p.relative_to(REPOSITORY)): names_in(ast.parse(p.read_text())) for p in files}
    assert found.pop(OWNER) == FILES | FOLDERS
    assert {path: names for path, names in found.items() if names} == {}


def test_reading_a_run_needs_no_torch() -> None:
    code = "import sys, armseg_core.learning.run_folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
