"""Folder conversion: parallel, idempotent, resumable after any kill, one outcome per recording."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import raw_files
from scene_folders import names, outputs, scenes
from toy_sensor import sonar, write  # noqa: F401  (fixture)

from armseg_core.conversion.discovery import find_recordings
from armseg_core.conversion.folder import convert_folder, parse_shard, shard_from_environment
from armseg_core.conversion.manifest import Manifest, read_manifest
from armseg_core.errors import InputError, OutputError, UsageError
from armseg_core.files.tensor_file import TensorFile

# --- finding recordings ----------------------------------------------------------------------------------


def test_a_dataset_of_scenes_keeps_its_structure(tmp_path: Path) -> None:
    for i in range(2):
        raw_files.scene(tmp_path / "in" / f"scene_{i:05d}", seed=i)
    made = convert_folder([tmp_path / "in"], tmp_path / "out", modality="event", workers=1)
    assert (made.converted, made.failed) == (2, 0)
    assert names(tmp_path / "out") == {
        "manifest.jsonl",
        "scene_00000/events.voxel_grid.h5",
        "scene_00001/events.voxel_grid.h5",
    }


def test_every_sensor_of_a_scene_is_found_and_nothing_else(tmp_path: Path) -> None:
    raw_files.scene(tmp_path / "scene")
    _, found = find_recordings([tmp_path])
    assert {(str(item.relative), item.modality) for item in found} == {
        ("scene/events.h5", "event"),
        ("scene/thermal.tiff", "thermal"),
        ("scene/depth.png", "depth"),
        ("scene/lidar.bin", "lidar"),
        ("scene/polarization.png", "polarization"),
        ("scene/light_field", "light_field"),
    }


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_one_sensor_of_a_scene(tmp_path: Path, sensor: str) -> None:
    paths = raw_files.scene(tmp_path / "scene")
    _, found = find_recordings([tmp_path], sensor)
    assert [(item.source, item.modality) for item in found] == [(paths[sensor], sensor)]


def test_color_pictures_are_no_recordings_unless_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "in"
    raw_files.rgb(root / "images" / "left" / "rectified" / "000001.png")
    raw_files.rgb(root / "elsewhere" / "000001.png")
    raw_files.depth(root / "disparity" / "left" / "far" / "000001.png")
    assert [item.modality for item in find_recordings([root])[1]] == ["depth"]
    thermal = [str(item.relative) for item in find_recordings([root], "thermal")[1]]
    assert thermal == ["elsewhere/000001.png"]  # nothing says that it is not


def test_hidden_converted_and_output_files_are_passed_over(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "depth_a.png")
    raw_files.depth(tmp_path / ".hidden" / "depth.png")
    raw_files.depth(tmp_path / ".depth.png")
    convert_folder([tmp_path], workers=1)
    assert names(tmp_path) == {
        "depth_a.png",
        "depth_a.metric.h5",
        "manifest.jsonl",
        ".depth.png",
        ".hidden/depth.png",
    }
    _, found = find_recordings([tmp_path])
    assert [item.source.name for item in found] == ["depth_a.png"]


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "a" / "depth.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    _, found = find_recordings([tmp_path])
    assert [str(item.relative) for item in found] == ["a/depth.png"]


def test_files_patterns_and_folders_together(tmp_path: Path, monkeypatch) -> None:
    scenes(tmp_path / "in", 4)
    monkeypatch.chdir(tmp_path)
    root, found = find_recordings(["in/part0/*/depth.png", "in/part1", "in/part0/scene_00000/depth.png"])
    assert root == Path("in")
    assert [str(item.relative) for item in found] == [
        "part0/scene_00000/depth.png",
        "part0/scene_00002/depth.png",
        "part1/scene_00001/depth.png",
        "part1/scene_00003/depth.png",
    ]
    with pytest.raises(InputError, match="no file fits"):
        find_recordings(["in/*.nothing"])
    with pytest.raises(InputError, match="no such file"):
        find_recordings(["in/nothing"])


def test_equal_stems_get_different_outputs(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "in" / "depth.png")
    np.save(tmp_path / "in" / "depth.npy", np.ones((12, 16), np.float32))
    convert_folder([tmp_path / "in"], tmp_path / "out", modality="depth", workers=1)
    assert names(tmp_path / "out") == {"depth.png.metric.h5", "depth.npy.metric.h5", "manifest.jsonl"}


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    raw_files.rgb(tmp_path / "rgb.png")
    with pytest.raises(InputError, match="and none is in it"):
        convert_folder([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- bad recordings --------------------------------------------------------------------------------------


def test_one_bad_file_does_not_stop_the_rest(tmp_path: Path, armseg) -> None:
    root = scenes(tmp_path / "in", 3)
    bad = raw_files.events(root / "part0" / "bad" / "events.h5")
    bad.write_bytes(bad.read_bytes()[:3000])
    cut = raw_files.depth(root / "part0" / "cut" / "depth.png")
    cut.write_bytes(cut.read_bytes()[:100])
    result = armseg("convert", root, "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert "3 converted, 0 already current, 2 failed of 5 recordings" in result.stdout
    assert result.stderr.count("failed: ") == 2
    assert "bad/events.h5: the HDF5 file is truncated" in result.stderr
    entries = {entry["input"]: entry for entry in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    assert len(entries) == 5
    assert entries["part0/bad/events.h5"]["status"] == "failed"
    assert "truncated" in entries["part0/cut/depth.png"]["error"]
    assert len(outputs(tmp_path / "out")) == 3


def test_an_ambiguous_picture_is_an_outcome_too(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "in" / "0001.png")
    made = convert_folder([tmp_path / "in"], tmp_path / "out", workers=1)
    assert made.failed == 1
    assert "fits several sensors" in made.outcomes[0]["error"]
    made = convert_folder([tmp_path / "in"], tmp_path / "out", modality="depth", workers=1)
    assert (made.converted, made.failed) == (1, 0)
    assert [entry["status"] for entry in read_manifest(made.manifest)] == ["converted"]


def test_a_wrong_option_is_one_error_and_no_output(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", 2)
    with pytest.raises(UsageError, match="--bins: does not apply"):
        convert_folder([root], tmp_path / "out", options={"bins": 3})
    with pytest.raises(UsageError, match="depth_unit"):
        convert_folder([root], tmp_path / "out", options={"depth_unit": "furlong"})
    with pytest.raises(
        UsageError, match=r"is not a recording itself and holds \d+ recordings .*a folder of results"
    ):
        convert_folder([root], tmp_path / "out.h5")
    with pytest.raises(UsageError, match=r"out.h5' is a file name"):
        convert_folder(sorted(root.iterdir())[:2], tmp_path / "out.h5")
    with pytest.raises(UsageError, match="unknown engine"):
        convert_folder([root], tmp_path / "out", engine="dask")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["out", "out.h5"])
def test_it_is_said_why_a_folder_without_recordings_is_none(tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.md").write_text("hello", encoding="utf-8")
    said = r"in: not a recording of any sensor in a known format, and none is in it.*Try: .*armseg check"
    with pytest.raises(InputError, match=said):
        convert_folder([tmp_path / "in"], tmp_path / output)
    with pytest.raises(InputError, match=r"not a recording of the light-field camera.*expected .*views"):
        convert_folder([tmp_path / "in"], tmp_path / output, modality="light_field")


def test_an_option_goes_to_the_sensors_it_applies_to(tmp_path: Path) -> None:
    raw_files.scene(tmp_path / "in")
    made = convert_folder(
        [tmp_path / "in"], tmp_path / "out", options={"bins": 3, "depth_unit": "cm"}, workers=1
    )
    assert made.failed == 0
    with TensorFile(tmp_path / "out" / "events.voxel_grid.h5") as file:
        assert len(file.info.channels) == 3


def test_an_unwritable_output_folder(tmp_path: Path) -> None:
    root = scenes(tmp_path / "in", 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        convert_folder([root], tmp_path / "file" / "out")
    with pytest.raises(OutputError):
        convert_folder([root], tmp_path / "file")


# --- again -----------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    root, out = scenes(tmp_path / "in", 4), tmp_path / "out"
    first = convert_folder([root], out, workers=2)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")}
    second = convert_folder([root], out, workers=2)
    assert (first.converted, first.skipped) == (4, 0)
    assert (second.converted, second.skipped) == (0, 4)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.h5")} == stamps
    third = convert_folder([root], out, workers=2, force=True)
    assert third.converted == 4


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    root, out = scenes(tmp_path / "in", 4), tmp_path / "out"
    convert_folder([root], out, workers=1)
    raw_files.depth(root / "part0" / "scene_00002" / "depth.png", seed=77)
    raw_files.depth(root / "part0" / "scene_00004" / "depth.png", seed=4)
    (out / "part1" / "scene_00001" / "depth.metric.h5").write_bytes(b"")
    made = convert_folder([root], out, workers=1)
    assert {entry["input"] for entry in made.outcomes if entry["status"] == "converted"} == {
        "part0/scene_00002/depth.png",
        "part0/scene_00004/depth.png",
        "part1/scene_00001/depth.png",
    }
    assert made.skipped == 2


def test_parallel_and_serial_runs_give_the_same_frames(tmp_path: Path) -> None:
    for i in range(2):
        raw_files.scene(tmp_path / "in" / f"s{i}", seed=i)
    convert_folder([tmp_path / "in"], tmp_path / "one", workers=1)
    convert_folder([tmp_path / "in"], tmp_path / "two", workers=2)
    assert len(outputs(tmp_path / "one")) == 12
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")


# --- shares ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 11])
def test_shares_cover_everything_once(tmp_path: Path, sonar, n: int) -> None:  # noqa: F811
    for i in range(10):
        write(tmp_path / "in" / f"{i}.sonar", np.full((2, 3), i))
    done: list[str] = []
    for i in range(1, n + 1):
        made = convert_folder([tmp_path / "in"], tmp_path / "out", shard=(i, n), workers=1)
        assert made.skipped == 0, "two shares did the same recording"
        assert Path(made.manifest).name == f"manifest.{i}-of-{n}.jsonl"
        done += [entry["input"] for entry in made.outcomes]
    assert sorted(done) == sorted(f"{i}.sonar" for i in range(10))
    assert len(outputs(tmp_path / "out")) == 10


def test_a_share_looks_into_its_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each of thousands of shares would begin by reading in every file of the folder."""
    from armseg_core.conversion import discovery

    for i in range(40):
        raw_files.depth(tmp_path / "in" / f"depth_{i}.png", seed=i)
    looked: list[Path] = []
    usual = discovery.matching

    def counting(path: Path, modality: str | None = None):
        looked.append(path)
        return usual(path, modality)

    monkeypatch.setattr(discovery, "matching", counting)
    made = convert_folder([tmp_path / "in"], tmp_path / "out", shard=(3, 20), workers=1)
    assert made.converted == 2
    assert len({path for path in looked if path.is_file()}) == 2


def test_files_of_one_name_are_in_one_share(tmp_path: Path) -> None:
    """Their results would have one name."""
    for i in range(6):
        np.save(tmp_path / f"depth_{i}.npy", np.ones((20, 30), np.float32))
        raw_files.depth(tmp_path / f"depth_{i}.png", seed=i)
    for i in range(1, 5):
        convert_folder([tmp_path], tmp_path / "out", shard=(i, 4), workers=1)
    expected = {f"depth_{i}.{kind}.metric.h5" for i in range(6) for kind in ("npy", "png")}
    assert {path.name for path in (tmp_path / "out").glob("*.h5")} == expected


def test_an_option_for_the_sensors_of_another_share(tmp_path: Path) -> None:
    raw_files.depth(tmp_path / "depth.png")
    raw_files.thermal(tmp_path / "thermal.tiff")
    made = [
        convert_folder([tmp_path], tmp_path / "out", shard=(i, 2), workers=1, options={"depth_unit": "mm"})
        for i in (1, 2)
    ]
    assert [summary.converted for summary in made] == [1, 1]


def test_parse_shard() -> None:
    assert parse_shard("2/8") == (2, 8)
    for text in ("0/8", "9/8", "1", "a/b", "1/0", "-1/8", ""):
        with pytest.raises(UsageError, match="1 to n"):
            parse_shard(text)


def test_slurm_array_tasks() -> None:
    def share(task: int, **more: int):
        values = {"TASK_ID": task, **more}
        return shard_from_environment({f"SLURM_ARRAY_{key}": str(value) for key, value in values.items()})

    assert shard_from_environment({}) is None
    assert share(3) is None  # no count
    assert [share(i, TASK_COUNT=3, TASK_MIN=0, TASK_MAX=2) for i in range(3)] == [(1, 3), (2, 3), (3, 3)]
    assert [share(i, TASK_COUNT=3, TASK_MIN=5, TASK_MAX=9, TASK_STEP=2) for i in (5, 7, 9)] == [
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    assert share(2, TASK_COUNT=4) == (3, 4)
    with pytest.raises(UsageError, match="has no place"):  # --array=1,3,9
        share(9, TASK_COUNT=3, TASK_MIN=1, TASK_MAX=9)


def test_slurm_environment_is_used(tmp_path: Path, monkeypatch, sonar) -> None:  # noqa: F811
    for i in range(4):
        write(tmp_path / "in" / f"{i}.sonar", np.zeros((2, 3)))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    made = convert_folder([tmp_path / "in"], tmp_path / "out", workers=1)
    assert made.shard == (2, 2)
    assert len(made.outcomes) == 2


# --- the manifest ----------------------------------------------------------------------------------------


def test_a_torn_last_line_is_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with Manifest(path) as manifest:
        manifest.add({"input": "b", "output": "b.h5", "status": "converted"})
        manifest.add({"input": "a", "output": "a.h5", "status": "failed"})
    assert [entry["input"] for entry in read_manifest(path)] == ["a", "b"]
    with path.open("a") as stream:
        stream.write('{"input": "c", "outp')
    with Manifest(path) as manifest:
        manifest.add({"input": "a", "output": "a.h5", "status": "converted"})
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["input"], entry["status"]) for entry in entries] == [
        ("a", "converted"),
        ("b", "converted"),
    ]
    path.write_bytes(b"\xff\x00garbage\n" + path.read_bytes())
    assert len(read_manifest(path)) == 2
    assert names(tmp_path) == {"manifest.jsonl"}


def test_two_runs_never_write_into_each_other(tmp_path: Path) -> None:
    with Manifest(tmp_path / "manifest.jsonl"):
        with (
            pytest.raises(OutputError, match="another conversion is writing here"),
            Manifest(tmp_path / "manifest.jsonl"),
        ):
            pass
        with Manifest(tmp_path / "manifest.1-of-2.jsonl"):
            pass
    with Manifest(tmp_path / "manifest.jsonl"):
        pass


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_unfinished_files_are_removed_only_where_a_lock_says_that_nobody_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """On a file system without locks the unfinished file may be that of a conversion at work."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", refuse)
    out = tmp_path / "out"
    out.mkdir()
    unfinished, foreign = out / ".depth.metric.h5.abcd1234.tmp", out / ".other.h5.abcd1234.tmp"
    unfinished.write_bytes(b"half a file")
    foreign.write_bytes(b"of another program")
    made = convert_folder([raw_files.depth(tmp_path / "in" / "depth.png").parent], out, workers=1)
    assert (made.converted, made.failed) == (1, 0)
    assert (out / unfinished.name[1:].removesuffix(".abcd1234.tmp")).is_file()
    assert unfinished.exists() is not locks
    assert foreign.exists()


def test_results_of_another_sensor_stay_in_the_manifest(tmp_path: Path) -> None:
    raw_files.scene(tmp_path / "in")
    convert_folder([tmp_path / "in"], tmp_path / "out", modality="depth", workers=1)
    made = convert_folder([tmp_path / "in"], tmp_path / "out", modality="thermal", workers=1)
    assert [entry["modality"] for entry in read_manifest(made.manifest)] == ["depth", "thermal"]


def test_h5_files_of_others_are_readable_by_plain_h5py(tmp_path: Path) -> None:
    made = convert_folder([scenes(tmp_path / "in", 1)], tmp_path / "out", workers=1)
    with h5py.File(Path(made.manifest).parent / made.outcomes[0]["output"]) as f:
        assert json.loads(f.attrs["channels"]) == ["depth", "valid", "inverse_depth"]
