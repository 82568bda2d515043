"""`armseg convert`: what it prints, its flags, and one clear line for every bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import raw_files

from armseg_core.sensors.modalities import IMAGE, MODALITIES
from armseg_core.sensors.recognition import format_table, readers_for, sniff
from armseg_core.sensors.sniffing import diagnose, named_modalities

# --- what it prints --------------------------------------------------------------------------------------


def test_no_option_works_and_says_what_was_made(tmp_path: Path, armseg) -> None:
    raw_files.events(tmp_path / "events.h5")
    result = armseg("convert", "events.h5", cwd=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "Made: events.voxel_grid.h5" in result.stdout
    assert "4 x 5 x 480 x 640 float16" in result.stdout
    assert "2,000 in 0.200 s of recording, 0.01 M events/s" in result.stdout
    assert "seconds" in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: armseg visualize events.voxel_grid.h5"
    again = armseg("convert", "events.h5", cwd=tmp_path)
    assert again.exit_code == 0
    assert "Already current: events.voxel_grid.h5" in again.stdout
    assert "Made" in armseg("convert", "events.h5", "--force", cwd=tmp_path).stdout


def test_json(tmp_path: Path, armseg) -> None:
    raw = raw_files.depth(tmp_path / "in" / "depth.png")
    one = json.loads(armseg("convert", raw, "--json").stdout)
    assert one["shape"] == [1, 3, 24, 32]
    assert any(note.startswith("depth taken as mm") for note in one["notes"]), "an assumed unit is said"
    many = json.loads(armseg("convert", tmp_path / "in", "-o", tmp_path / "out", "--json").stdout)
    assert (many["converted"], many["failed"]) == (1, 0)


def test_a_pattern_is_expanded(tmp_path: Path, armseg) -> None:
    for i in range(3):
        raw_files.depth(tmp_path / f"s{i}" / "depth.png", seed=i)
    result = armseg("convert", "s[01]/depth.png", "-o", "out", "--workers", 1, cwd=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.h5")) == [
        "s0/depth.metric.h5",
        "s1/depth.metric.h5",
    ]
    assert "Next: armseg visualize out/s0/depth.metric.h5" in result.stdout


def test_a_share(tmp_path: Path, armseg) -> None:
    for i in range(3):
        raw_files.depth(tmp_path / f"depth{i}.png", seed=i)
    result = armseg("convert", ".", "--shard", "2/2", "-o", "out", "--workers", 1, cwd=tmp_path)
    assert "1 converted, 0 already current, 0 failed of 1 recordings (share 2 of 2)" in result.stdout


def test_a_folder_that_is_one_recording(tmp_path: Path, armseg) -> None:
    raw_files.light_field(tmp_path / "lf")
    result = armseg("convert", "lf", cwd=tmp_path)
    assert "Made: lf.views.h5" in result.stdout
    raw_files.light_field(tmp_path / "all" / "a")
    raw_files.light_field(tmp_path / "all" / "b")
    result = armseg("convert", "all", "--workers", 1, cwd=tmp_path)
    assert "2 converted" in result.stdout
    assert (tmp_path / "all" / "a.views.h5").is_file()


# --- bad input: one line, exit 2, nothing left -----------------------------------------------------------


def missing_file(folder: Path) -> tuple[list, str]:
    return [folder / "none.h5"], "none.h5: no such file or folder"


def wrong_type(folder: Path) -> tuple[list, str]:
    (folder / "text.h5").write_text("not HDF5")
    return [folder / "text.h5"], "text.h5: not an HDF5 file"


def wrong_content(folder: Path) -> tuple[list, str]:
    (folder / "notes.md").write_text("# notes")
    return [folder / "notes.md"], "notes.md: not a recording of any sensor in a known format"


def empty_file(folder: Path) -> tuple[list, str]:
    (folder / "events.h5").touch()
    return [folder / "events.h5"], "events.h5: the file is empty"


def truncated_hdf5(folder: Path) -> tuple[list, str]:
    raw = raw_files.events(folder / "events.h5")
    raw.write_bytes(raw.read_bytes()[:-500])
    return [raw], "events.h5: the HDF5 file is truncated"


def damaged_chunk(folder: Path) -> tuple[list, str]:
    raw = raw_files.events(folder / "events.h5", count=50_000)
    with h5py.File(raw) as f:
        chunk = f["events/t"].id.get_chunk_info(0)
    data = bytearray(raw.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = os.urandom(chunk.size)
    raw.write_bytes(data)
    return [raw], "events.h5: "


def missing_codec(folder: Path) -> tuple[list, str]:
    """A chunk compressed by a filter nobody has."""
    path = folder / "events.h5"
    with h5py.File(path, "w") as f:
        for name in "xypt":
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4,))
            plist.set_filter(31_999, h5py.h5z.FLAG_OPTIONAL)
            group = f.require_group("events")
            data = h5py.h5d.create(
                group.id, name.encode(), h5py.h5t.STD_U32LE, h5py.h5s.create_simple((4,)), plist
            )
            data.write_direct_chunk((0,), b"\0" * 16)
        f["t_offset"] = np.int64(0)
        f["ms_to_idx"] = np.zeros(1, np.uint64)
    return [path], "events.h5: "


def truncated_png(folder: Path) -> tuple[list, str]:
    raw = raw_files.depth(folder / "depth.png")
    raw.write_bytes(raw.read_bytes()[:-20])
    return [raw], "depth.png: the PNG file is truncated"


def unknown_modality(folder: Path) -> tuple[list, str]:
    return [raw_files.depth(folder / "depth.png"), "--modality", "dept"], "unknown modality 'dept'"


def other_sensor(folder: Path) -> tuple[list, str]:
    return [
        raw_files.depth(folder / "depth.png"),
        "--modality",
        "event",
    ], "not a recording of the event camera in a known format"


def several_sensors(folder: Path) -> tuple[list, str]:
    return [raw_files.depth(folder / "0001.png")], "0001.png: its format fits several sensors"


def rgb_picture(folder: Path) -> tuple[list, str]:
    return [raw_files.rgb(folder / "rgb.png")], "rgb.png: its name says an RGB or label picture; its"


def option_typo(folder: Path) -> tuple[list, str]:
    return [
        raw_files.events(folder / "events.h5"),
        "--windov",
        "50ms",
    ], "no such option: --windov. Try: --window"


def bad_value(folder: Path) -> tuple[list, str]:
    return [raw_files.events(folder / "events.h5"), "--window", "fast"], "option 'window' is 'fast'"


def bad_number(folder: Path) -> tuple[list, str]:
    return [raw_files.events(folder / "events.h5"), "--bins", "many"], "'bins' is 'many'"


def flag_of_another_sensor(folder: Path) -> tuple[list, str]:
    return [raw_files.depth(folder / "depth.png"), "--bins", 5], "--bins: does not apply"


def wrong_representation(folder: Path) -> tuple[list, str]:
    return [raw_files.depth(folder / "depth.png"), "-r", "metrik"], "Try: --representation metric"


def output_below_a_file(folder: Path) -> tuple[list, str]:
    raw = raw_files.depth(folder / "depth.png")
    (folder / "file").write_text("x")
    return [raw, "-o", folder / "file" / "out.h5"], "out.h5: cannot write here"


def output_is_the_input(folder: Path) -> tuple[list, str]:
    raw = raw_files.depth(folder / "depth.png")
    return [raw, "-o", raw], "would overwrite the recording itself"


def already_converted(folder: Path) -> tuple[list, str]:
    from armseg_core.conversion.convert import convert_file

    return [convert_file(raw_files.depth(folder / "depth.png")).output], "already a sensor-tensor file"


def wrong_rectify_map(folder: Path) -> tuple[list, str]:
    with h5py.File(folder / "map.h5", "w") as f:
        f["rectify_map"] = np.zeros((10, 10, 2), np.float32)
    return [raw_files.events(folder / "events.h5"), "--rectify-map", folder / "map.h5"], "events.h5: "


def bad_share(folder: Path) -> tuple[list, str]:
    return [raw_files.depth(folder / "depth.png"), "--shard", "3/2"], "--shard: '3/2' is not a share"


def empty_folder(folder: Path) -> tuple[list, str]:
    (folder / "nothing").mkdir()
    return [folder / "nothing"], "and none is in it"


def no_path(folder: Path) -> tuple[list, str]:
    return [], "missing argument"


BAD = [
    missing_file,
    wrong_type,
    wrong_content,
    empty_file,
    truncated_hdf5,
    damaged_chunk,
    missing_codec,
    truncated_png,
    unknown_modality,
    other_sensor,
    several_sensors,
    rgb_picture,
    option_typo,
    bad_value,
    bad_number,
    flag_of_another_sensor,
    wrong_representation,
    output_below_a_file,
    output_is_the_input,
    already_converted,
    wrong_rectify_map,
    bad_share,
    empty_folder,
    no_path,
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_with_one_line(bad, tmp_path: Path, armseg) -> None:
    arguments, expected = bad(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = armseg("convert", *arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert expected in lines[0]
    assert result.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "something was written"


FOR_INSPECT = [
    missing_file,
    wrong_type,
    wrong_content,
    empty_file,
    truncated_hdf5,
    damaged_chunk,
    missing_codec,
    truncated_png,
    several_sensors,
    rgb_picture,
    unknown_modality,
    no_path,
]


@pytest.mark.parametrize("bad", FOR_INSPECT)
def test_bad_input_of_inspect(bad, tmp_path: Path, armseg) -> None:
    arguments, expected = bad(tmp_path)
    result = armseg("inspect", *arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert expected in lines[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path, armseg) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    raw.chmod(0)
    result = armseg("convert", raw)
    assert result.exit_code == 2
    assert "permission denied" in result.stderr


def test_a_file_that_may_not_be_read(tmp_path: Path, armseg, monkeypatch) -> None:
    """Like test_no_permission, for runs as superuser: the system call is the one that is asked."""
    raw = raw_files.depth(tmp_path / "depth.png")
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    result = armseg("convert", raw)
    assert result.exit_code == 2
    assert "depth.png: may not be read (permission denied)" in result.stderr


# --- the table of formats --------------------------------------------------------------------------------


def test_the_format_table_has_every_reader() -> None:
    lines = format_table().splitlines()
    rows = (*readers_for(), *IMAGE.readers)
    assert len(lines) == 2 + len(rows)
    for reader in rows:
        line = next(line for line in lines if f"| {reader.title} |" in line)
        assert ("| no |" in line) == bool(reader.refuse)
        if reader.extra:
            assert f"armseg[{reader.extra}]" in line


def test_readers_are_named_once_and_their_tests_never_raise(tmp_path: Path) -> None:
    assert len({reader.name for reader in readers_for()}) == len(readers_for())
    assert {reader.modality for reader in readers_for()} <= set(MODALITIES)
    odd = [tmp_path / "none", tmp_path, tmp_path / "empty", tmp_path / "bytes.h5"]
    odd[2].touch()
    odd[3].write_bytes(os.urandom(100))
    for reader in readers_for():
        for path in odd:
            assert reader.matches(path) in (True, False)


def test_words_in_names() -> None:
    for text, expected in {
        "scene_3_depth": {"depth"},
        "polL_dolp": {"polarization"},
        "lightField": {"light_field"},
        "light-field": {"light_field"},
        "images": {"rgb"},
        "image_02": {"rgb"},
        "gt": {"rgb"},
        "DVS": {"event"},
        "velodyne_points": {"lidar"},
        "firmware": set(),
        "eventual": set(),
        "0001": set(),
    }.items():
        assert named_modalities(text) == expected, text


def test_the_folder_decides_where_the_name_says_nothing(tmp_path: Path) -> None:
    for folder in ("depth", "thermal", "polarization"):
        assert sniff(raw_files.depth(tmp_path / folder / "0001.png")).modality == folder


def test_diagnose_leaves_whole_files_alone(tmp_path: Path) -> None:
    for path in raw_files.scene(tmp_path).values():
        assert diagnose(path) == ""


def test_compression_is_chosen_and_an_unknown_one_refused(tmp_path: Path, armseg) -> None:
    events, out = tmp_path / "in" / "events.h5", tmp_path / "x.h5"
    raw_files.events(events)
    for name, filters in (("blosc", {"32001"}), ("gzip", {"shuffle", "gzip"})):  # the other one is made anew
        assert armseg("convert", events, "-o", out, "--compression", name).exit_code == 0
        with h5py.File(out) as file:
            assert set(file["frames"]._filters) == filters
    assert "Already current" in armseg("convert", events, "-o", out).stdout
    folder = armseg("convert", events.parent, "-o", tmp_path / "all", "--compression", "blosc")
    assert folder.exit_code == 0, folder.stderr
    with h5py.File(next((tmp_path / "all").glob("*.h5"))) as file:
        assert set(file["frames"]._filters) == {"32001"}
    refused = armseg("convert", events.parent, "-o", tmp_path / "other", "--compression", "zip")
    assert refused.exit_code == 2
    assert "one of gzip, blosc" in refused.stderr
