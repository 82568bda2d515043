"""Bad input of every command ends with one clear line, exit code 2, no traceback and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import hdf5plugin
import numpy as np
import pytest
from places import REPOSITORY

from armseg_cli.main import COMMANDS


@pytest.fixture(scope="module")
def bad_files(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good recordings of one scene and of damaged ones. Tests work in copies of it."""
    folder = tmp_path_factory.mktemp("bad")
    scene = next(path for path in sorted(sample_data.iterdir()) if (path / "events.h5").is_file())
    for name in (
        "rgb.png",
        "events.h5",
        "thermal.tiff",
        "depth.png",
        "polarization.png",
        "lidar.bin",
        "calib.json",
    ):
        shutil.copy(scene / name, folder)
    (folder / "text.h5").write_text("not an HDF5 file\n" * 100)
    (folder / "text.png").write_text("not a picture\n" * 100)
    (folder / "empty.h5").write_bytes(b"")
    events = (folder / "events.h5").read_bytes()
    (folder / "cut.h5").write_bytes(events[: len(events) // 2])
    picture = (folder / "thermal.tiff").read_bytes()
    (folder / "cut.tiff").write_bytes(picture[: len(picture) // 2])
    with h5py.File(folder / "strange.h5", "w") as file:
        file["something"] = np.arange(5)
    write_with_unknown_filter(folder / "codec.h5")
    cv2.imwrite(str(folder / "square.png"), np.full((64, 64), 2000, np.uint16))
    broken = folder / "broken_model"
    broken.mkdir()
    (broken / "armseg.json").write_text("{ not json")
    (folder / "empty_folder").mkdir()
    (folder / "a_file").write_text("x")
    data = folder / "bad_data"
    data.mkdir()
    (data / "dataset.toml").write_text('format_version = 1\nname = "x"\n[[classes]\n')
    return folder


def write_with_unknown_filter(path: Path) -> None:
    """A DSEC-like file whose arrays need an HDF5 filter that nobody has (blosc with another id)."""
    with h5py.File(path, "w") as file:
        for name in ("x", "y", "p", "t"):
            values = np.arange(4096, dtype="u4" if name == "t" else "u2") % 2
            file.create_dataset(f"events/{name}", data=values, chunks=(1024,), **hdf5plugin.Blosc())
        file["ms_to_idx"] = np.array([0, 4096], "u8")
        file["t_offset"] = np.int64(0)
    blosc, unknown = (32001).to_bytes(2, "little"), (32999).to_bytes(2, "little")
    raw = path.read_bytes()
    assert blosc in raw
    path.write_bytes(raw.replace(blosc, unknown))


NO_MODEL = ("--model", "broken_model")
CASES: dict[str, tuple[str, ...]] = {
    # missing file or folder
    "convert a missing file": ("convert", "nothing.h5"),
    "convert a pattern without a match": ("convert", "*.nothing"),
    "inspect a missing file": ("inspect", "nothing.h5"),
    "visualize a missing file": ("visualize", "nothing.h5"),
    "check a missing folder": ("check", "nothing"),
    "train on a missing folder": ("train", "nothing"),
    "eval a missing run": ("eval", "--model", "nothing"),
    "eval on missing data": ("eval", "nothing", "--model", "broken_model"),
    "predict a missing image": ("predict", "nothing.png", "events.h5", *NO_MODEL),
    "predict without any run": ("predict", "rgb.png"),
    "eval without any run": ("eval",),
    "resume without any run": ("train", "--resume", "latest"),
    # wrong type
    "convert text": ("convert", "text.h5"),
    "convert an empty file": ("convert", "empty.h5"),
    "convert a photo as events": ("convert", "rgb.png", "--modality", "event"),
    "convert an HDF5 file of another kind": ("convert", "strange.h5"),
    "convert an empty folder": ("convert", "empty_folder"),
    "inspect text": ("inspect", "text.png"),
    "visualize text": ("visualize", "text.png"),
    "check a file": ("check", "a_file"),
    "check a folder that is no data set": ("check", "empty_folder"),
    "train on a folder that is no data set": ("train", "empty_folder"),
    "train on a broken dataset.toml": ("train", "bad_data"),
    # truncated and undecodable files
    "convert a truncated HDF5 file": ("convert", "cut.h5"),
    "inspect a truncated HDF5 file": ("inspect", "cut.h5"),
    "visualize a truncated HDF5 file": ("visualize", "cut.h5"),
    "convert a truncated TIFF": ("convert", "cut.tiff", "--modality", "thermal"),
    "convert a file that needs an unknown filter": ("convert", "codec.h5"),
    # options
    "convert with an unknown modality": ("convert", "events.h5", "--modality", "evnt"),
    "convert with an unknown representation": ("convert", "events.h5", "--representation", "voxels"),
    "convert with a bad window": ("convert", "events.h5", "--window", "50 parsecs"),
    "convert with a bad size": ("convert", "events.h5", "--size", "big"),
    "convert with zero bins": ("convert", "events.h5", "--bins", "0"),
    "convert with a bad norm": ("convert", "events.h5", "--norm", "l2"),
    "convert with missing end times": ("convert", "events.h5", "--end-times", "nothing.txt"),
    "convert with an option of another sensor": ("convert", "events.h5", "--depth-unit", "mm"),
    "visualize with a frame beyond the end": ("visualize", "events.h5", "--frame", "100000"),
    "train with an unknown modality": ("train", "--modalities", "depth,termal", "--dry-run"),
    "train with an unknown setting": ("train", "--set", "los.dice=1", "--dry-run"),
    "train with a bad setting": ("train", "--set", "steps", "--dry-run"),
    "train with settings that contradict": (
        "train",
        "--set",
        "sensor_dropout=0.9",
        "--set",
        "rgb_dropout=0.5",
        "--dry-run",
    ),
    "train with an unknown CLIP": ("train", "--guide", "ViT-B-17", "--dry-run"),
    "train with a CLIP but no weights": ("train", "--guide", "ViT-B-16-quickgelu", "--dry-run"),
    "train with missing weights": (
        "train",
        "--guide",
        "ViT-B-16-quickgelu",
        "--guide-weights",
        "nothing",
        "--dry-run",
    ),
    "train on an unknown device": ("train", "--device", "gpu", "--dry-run"),
    "demo on an unknown device": ("demo", "--device", "gpu"),
    "simulate a bad size": ("simulate", "scenes", "--size", "tiny"),
    "simulate no scene": ("simulate", "scenes", "--scenes", "0"),
    # models
    "predict with a missing model": ("predict", "rgb.png", "--model", "nothing"),
    "predict with an unreadable model": ("predict", "rgb.png", "events.h5", *NO_MODEL),
    "predict with a folder that is no model": ("predict", "rgb.png", "--model", "empty_folder"),
    "eval an unreadable model": ("eval", "--model", "broken_model"),
    # output that cannot be written
    "convert into a file": ("convert", "events.h5", "-o", "a_file/out.h5"),
    "visualize into a file": ("visualize", "events.h5", "-o", "a_file/out.png"),
    "simulate into a file": ("simulate", "a_file/scenes", "--scenes", "1", "--size", "64x48"),
    "train into a file": ("train", "--output", "a_file/runs", "--steps", "1"),
    "demo into a file": ("demo", "-o", "a_file/demo"),
    **{f"{row.name} with an unknown option": (row.name, "--xyzzy") for row in COMMANDS},
}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and folder below `folder`, with contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def error_lines(stderr: str) -> list[str]:
    """The lines of stderr, without the notes that may come before the error."""
    return [line for line in stderr.splitlines() if not line.startswith(("note:", "warning:"))]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_with_one_line(name: str, armseg, bad_files: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(bad_files, work)
    before = tree(work)
    result = armseg(*CASES[name], cwd=work)
    assert result.exit_code == 2, f"{result.output}{result.exception!r}"
    lines = error_lines(result.stderr)
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    assert "Traceback" not in result.output
    assert len(lines[0]) < 900, "one line, not a page"
    assert tree(work) == before


WORDS = {
    "convert a missing file": ("nothing.h5", "no such file"),
    "convert with an unknown modality": ("evnt", "event"),
    "convert with a bad window": ("50 parsecs", "50ms"),
    "convert with a bad size": ("big", "640x480"),
    "convert a file that needs an unknown filter": ("codec.h5", "filter"),
    "train with an unknown modality": ("termal", "thermal"),
    "train with an unknown setting": ("los", "loss"),
    "train with a CLIP but no weights": ("--guide-pretrained", "--guide-weights"),
    "predict with an unreadable model": ("broken_model",),
    "train with settings that contradict": ("sensor_dropout", "below 1"),
}


@pytest.mark.parametrize("name", WORDS)
def test_the_line_says_what_and_what_to_do(name: str, armseg, bad_files: Path, tmp_path: Path) -> None:
    shutil.copytree(bad_files, tmp_path / "work")
    line = error_lines(armseg(*CASES[name], cwd=tmp_path / "work").stderr)[0]
    assert [word for word in WORDS[name] if word not in line] == []


def test_check_reports_a_broken_description(armseg, bad_files: Path) -> None:
    result = armseg("check", bad_files / "bad_data")
    assert (result.exit_code, result.stderr) == (2, "")
    assert "not valid TOML" in result.stdout


def run_limited(arguments: list[str], cwd: Path, prepare: str) -> subprocess.CompletedProcess[str]:
    """armseg in its own process, after a Python line that takes something away from it."""
    code = f"{prepare}\nimport sys; sys.argv[0] = 'armseg'; from armseg_cli.__main__ import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_leaves_nothing_behind(bad_files: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(bad_files, work)
    before = tree(work)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    done = run_limited(["convert", "events.h5", "-o", "out.h5"], work, full)
    assert (done.returncode, len(error_lines(done.stderr))) == (2, 1), done.stderr
    assert tree(work) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read and write everything")
def test_no_permission(armseg, bad_files: Path, tmp_path: Path) -> None:
    shutil.copytree(bad_files, tmp_path / "work")
    (tmp_path / "work" / "events.h5").chmod(0)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for arguments in (
        ("convert", "events.h5"),
        ("inspect", "events.h5"),
        ("visualize", "events.h5"),
        ("convert", "depth.png", "-o", locked / "x.h5"),
        ("demo", "-o", locked / "x"),
    ):
        result = armseg(*arguments, cwd=tmp_path / "work")
        assert (result.exit_code, len(error_lines(result.stderr))) == (2, 1), result.output
