"""What stands on the terminal: no control characters of names; streams may be closed, full or narrow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import raw_files
from places import REPOSITORY

from armseg_core.errors import InputError, printable
from armseg_core.files.tensor_file import TensorFile


def run(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A shell line in which ARMSEG stands for the program."""
    program = f"{sys.executable} -m armseg_cli"
    return subprocess.run(
        ["bash", "-c", command.replace("ARMSEG", program)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain über 電", "plain über 電"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("exe.\u202egnp", "exe.\\u202egnp"),
        ("bad\udcffname", "bad\\udcffname"),
        ("two\nlines\tand", "two\nlines\tand"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert "\x1b" not in str(InputError(text, where=text, hint=text))


def test_control_characters_of_a_name_are_escaped(armseg, tmp_path: Path) -> None:
    path = raw_files.depth(tmp_path / "a\x1b[31m_depth.png")
    for command in (("inspect", path), ("convert", path), ("convert", tmp_path, "-o", tmp_path / "out")):
        done = armseg(*command)
        assert done.exit_code == 0, done.output
        assert "\x1b" not in done.output
        assert "a\\x1b[31m_depth" in done.output


def test_control_characters_of_classes_are_escaped(armseg, tmp_path: Path, sample_data: Path) -> None:
    shutil.copytree(sample_data, tmp_path / "data")
    text = tmp_path / "data" / "dataset.toml"
    text.write_text(text.read_text().replace('name = "ground"', 'name = "gro\\u001b[31mund"'))
    done = armseg("check", tmp_path / "data", "--fast", "--quiet")
    assert "gro\\x1b[31mund" in done.stdout
    assert "\x1b" not in done.output


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 names only")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "depth.png").rename(tmp_path / "depth\udcff.png")
    for number in range(2):
        done = run("ARMSEG convert *.png", tmp_path, LC_ALL="C")
        assert done.returncode == 0, done.stderr
        assert (b"Already current" in done.stdout) == bool(number)
    made = next(tmp_path.glob("*.h5"))
    with TensorFile(made) as file:
        assert file.info.source_name == "depth\\udcff.png"
    done = run("ARMSEG convert . -o out", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_closed_streams(tmp_path: Path, streams: str) -> None:
    """Their numbers are not given to the files that are written."""
    raw_files.depth(tmp_path / "depth.png")
    done = run(f"ARMSEG convert depth.png {streams}", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    with TensorFile(tmp_path / "depth.metric.h5") as file:
        assert len(file) == 1
    assert run(f"ARMSEG inspect nothing.png {streams}", tmp_path).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "depth.png")
    done = run("ARMSEG inspect depth.png >/dev/full", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_narrow_encoding_shows_escapes(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "tiefe_電_depth.png")
    done = run("ARMSEG inspect *.png", tmp_path, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"tiefe_\\u96fb_depth" in done.stdout


def test_inspect_goes_on_behind_a_bad_file(armseg, tmp_path: Path) -> None:
    a, c = raw_files.depth(tmp_path / "a_depth.png"), raw_files.depth(tmp_path / "c_depth.png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    done = armseg("inspect", a, bad, c)
    assert done.exit_code == 2
    assert done.stdout.count("depth PNG") == 2
    assert [line for line in done.stderr.splitlines() if "bad.png" in line] == done.stderr.splitlines()
    reports = json.loads(armseg("inspect", a, bad, c, "--json").stdout)
    assert [Path(report["path"]).name for report in reports] == ["a_depth.png", "bad.png", "c_depth.png"]
    assert "not a PNG file" in reports[1]["error"]
