"""Text as editors of any system save it: marks, ends of lines, encodings, backslashes; JSON as every reader
takes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from one_line import assert_refused
from painted_folders import car_mask, write_labeled

from armseg_core.data import open_dataset
from armseg_core.data.checking import check_dataset
from armseg_core.data.folder import read_times
from armseg_core.errors import DataSetError, FormatError, InputError
from armseg_core.files.json_text import to_json
from armseg_core.files.text import read_text
from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.depth.readers import read_picture
from armseg_core.sensors.event.windows import read_end_times

BOM = b"\xef\xbb\xbf"
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_ends_of_lines_are_no_part_of_the_text(tmp_path: Path, mark: bytes, end: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(mark + end.join(["ä".encode(), b"b", b""]))
    assert read_text(tmp_path / "a.txt") == "ä\nb\n"


@pytest.mark.parametrize("encoding", WIDE)
def test_wide_text_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text("first\nsecond\n", encoding=encoding)
    with pytest.raises(FormatError, match=encoding[:6].upper() if "32" not in encoding else "UTF-32"):
        read_text(tmp_path / "a.txt")


def test_text_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    with pytest.raises(FormatError, match=r"not UTF-8 text \(byte 5\)"):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path)
    (tmp_path / "empty.txt").touch()
    assert read_text(tmp_path / "empty.txt") == ""


# -- data sets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_labeled(tmp_path / "data", lambda number: car_mask(number).astype(np.uint8))


def rewrite(path: Path, mark: bytes = b"", end: str = "\r\n") -> None:
    path.write_bytes(mark + path.read_text().replace("\n", end).encode())


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("name", ["train.txt", "dataset.toml"])
def test_a_data_set_written_on_windows(armseg: Any, folder: Path, name: str, mark: bytes) -> None:
    rewrite(folder / name, mark)
    assert check_dataset(folder).problems == ()
    assert open_dataset(folder, "train").ids == ("a", "b", "c")
    result = armseg("train", folder, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["training_samples"] == {"labeled": 3}


def test_an_id_list_in_utf_16_is_named(armseg: Any, folder: Path) -> None:
    (folder / "train.txt").write_text("a\nb\n", encoding="utf-16")
    checked = json.loads(armseg("check", folder, "--json").stdout)
    (error,) = [each for each in checked["problems"] if each["error"]]
    assert (error["what"], error["examples"]) == ("split 'train': is UTF-16 text", ["train.txt"])
    assert "UTF-8" in error["hint"]
    assert_refused(armseg("train", folder), "train.txt", "UTF-16", "UTF-8")


def test_a_dataset_toml_in_utf_16_is_named(armseg: Any, folder: Path) -> None:
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(text, encoding="utf-16")
    assert_refused(armseg("train", folder), "dataset.toml", "UTF-16", "UTF-8")
    assert armseg("check", folder).exit_code == 2


def test_backslashes_in_ids_times_and_paths(folder: Path) -> None:
    for kind in ("rgb", "mask", "thermal"):
        (folder / kind / "city").mkdir()
        for name in "abc":
            (folder / kind / f"{name}.png").rename(folder / kind / "city" / f"{name}.png")
    (folder / "train.txt").write_bytes(b"city\\a\r\ncity\\b\r\ncity\\c\r\n")
    (folder / "times.txt").write_text("city\\a 5\ncity/b 6\n")
    toml = folder / "dataset.toml"
    toml.write_text(toml.read_text().replace('"rgb/{id}.png"', "'rgb\\{id}.png'"))
    assert check_dataset(folder).problems == ()
    assert open_dataset(folder, "train").ids == ("city/a", "city/b", "city/c")
    assert read_times(folder / "times.txt") == {"city/a": 5, "city/b": 6}
    (folder / "train.txt").write_text("..\\a\n")
    with pytest.raises(DataSetError, match="leaves the data set's folder"):
        open_dataset(folder, "train")


def test_times_and_captions_with_a_mark(folder: Path) -> None:
    (folder / "times.txt").write_bytes(BOM + b"a 5\r\nb 6\r\n")
    assert read_times(folder / "times.txt") == {"a": 5, "b": 6}
    (folder / "a.txt").write_bytes(BOM + b"a street\r\n")
    toml = folder / "dataset.toml"
    toml.write_text(toml.read_text().replace("[rgb]", '[caption]\npath = "{id}.txt"\n[rgb]'))
    assert open_dataset(folder, "train").caption(0) == "a street"


# -- events


ROWS = b"".join(b"%d,%d,%d,%d\r\n" % (100 * n, n % 8, n % 6, n % 2) for n in range(50))


@pytest.mark.parametrize("header", [b"", b"timestamp,x,y,polarity\r\n", b"# t x y p\r\n"])
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_no_event_is_lost_to_a_mark(armseg: Any, tmp_path: Path, header: bytes, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    path.write_bytes(BOM + header + ROWS)
    result = armseg("inspect", path, "--sensor-size", "8x6", "--columns", "txyp", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["events"], found["first_us"]) == (50, 0)


@pytest.mark.parametrize("encoding", WIDE)
def test_events_in_wide_text_are_named(armseg: Any, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(ROWS.decode(), encoding=encoding, newline="")
    assert_refused(armseg("inspect", path), "events.csv", "UTF-", "save it again")


def test_end_times_with_a_mark(armseg: Any, tmp_path: Path) -> None:
    (tmp_path / "ends.txt").write_bytes(BOM + b"1000\r\n4000\r\n")
    assert read_end_times(tmp_path / "ends.txt").tolist() == [1000, 4000]
    (tmp_path / "events.csv").write_bytes(ROWS)
    result = armseg(
        *("convert", tmp_path / "events.csv", "--output", tmp_path / "out.h5", "--window", "1ms"),
        *("--sensor-size", "8x6", "--columns", "txyp", "--end-times", tmp_path / "ends.txt", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["shape"][0] == 2


def test_calibrations_with_a_mark(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((4, 6), 1000, np.uint16))
    matrix = [[5, 0, 3], [0, 5, 2], [0, 0, 1]]
    (tmp_path / "calib.json").write_bytes(BOM + to_json({"intrinsics": matrix, "size": [4, 6]}).encode())
    depth = read_picture(tmp_path / "depth.png", DepthOptions(depth_unit="mm"))
    assert depth.intrinsics is not None
    assert depth.intrinsics.tolist() == matrix


# -- JSON


def test_numbers_that_json_does_not_have_become_null() -> None:
    value = {"a": [math.nan, (1.5, math.inf)], "b": {"c": -math.inf, "d": np.float64("nan")}, "e": "NaN"}
    assert json.loads(to_json(value)) == {"a": [None, [1.5, None]], "b": {"c": None, "d": None}, "e": "NaN"}
    assert to_json({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'
