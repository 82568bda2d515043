"""inspect says what a file is, from independent counts, without writing anything."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import raw_files

from armseg_core.conversion.convert import convert_file
from armseg_core.conversion.inspection import inspect_file
from armseg_core.sensors.recognition import readers_for


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return raw_files.scene(tmp_path_factory.mktemp("scene"))


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_every_raw_and_converted_file(scene: dict[str, Path], sensor: str, tmp_path: Path, armseg) -> None:
    converted = convert_file(scene[sensor], tmp_path).output
    before = sorted(path.name for path in scene[sensor].parent.iterdir())
    for path, kind in ((scene[sensor], "raw"), (Path(converted), "converted")):
        result = armseg("inspect", path, "--json")
        assert result.exit_code == 0, result.stderr
        report = json.loads(result.stdout)
        assert (report["kind"], report["modality"]) == (kind, sensor)
        shown = armseg("inspect", path)
        assert shown.exit_code == 0
        assert sensor in shown.stdout
        assert shown.stdout.splitlines()[-1].startswith("Next: armseg ")
    assert sorted(path.name for path in scene[sensor].parent.iterdir()) == before


def test_an_event_recording(tmp_path: Path) -> None:
    path = raw_files.events(tmp_path / "events.h5", count=5000, span_us=1_000_000)
    with h5py.File(path) as f:
        x, y, p, t = (f[f"events/{name}"][:].astype(np.int64) for name in "xypt")
    report = inspect_file(path)
    assert report["bytes"] == path.stat().st_size
    assert report["size"] == "640x480"
    assert report["events"] == 5000
    assert (report["first_us"], report["last_us"]) == (1_000_000, 1_999_999)
    assert report["duration_s"] == pytest.approx(0.999999)
    assert report["events_per_s"] == pytest.approx(5000 / 0.999999, rel=1e-5)
    assert report["peak_events_per_s"] == pytest.approx(np.bincount(t // 10_000).max() * 100, rel=1e-5)
    assert report["positive_share"] == pytest.approx(p.mean(), rel=1e-5)
    assert report["active_pixels"] == pytest.approx(len(set(zip(x, y, strict=True))) / (480 * 640), rel=1e-5)
    assert report["in_time_order"] is True
    assert report["unusable_events"] == 0
    hottest = report["hottest_pixel"]
    assert hottest["events"] == ((x == hottest["x"]) & (y == hottest["y"])).sum()


def test_events_out_of_order_and_outside_the_sensor_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    t = np.arange(100) * 1000
    t[[10, 20, 30]] = 5000, 15_000, 25_000  # three steps back
    x = np.arange(100) % 50
    x[7] = 5000
    with h5py.File(path, "w") as f:
        for name, values in (("x", x), ("y", x * 0), ("p", x % 2), ("t", t)):
            f.create_dataset(f"events/{name}", data=values.astype(np.uint32), **hdf5plugin.Blosc())
        f["t_offset"] = np.int64(0)
        f["ms_to_idx"] = np.arange(100, dtype=np.uint64)
    report = inspect_file(path)
    assert report["in_time_order"] is False
    assert report["steps_back"] == 3
    assert report["unusable_events"] == 1
    assert any("not in time order" in note for note in report["notes"])


def test_pictures_and_clouds(scene) -> None:
    depth = inspect_file(scene["depth"], options={"depth_unit": "mm"})
    assert depth["size"] == "32x24"
    assert depth["valid_share"] == pytest.approx(1 - 16 / (24 * 32), rel=1e-5)
    assert 0.5 <= depth["depth_m"][0] <= depth["depth_m"][1] <= depth["depth_m"][2] < 20
    thermal = inspect_file(scene["thermal"])
    assert (thermal["unit"], thermal["bit_depth"]) == ("counts", 16)
    field = inspect_file(scene["light_field"])
    assert (field["views"], field["size"], field["bit_depth"]) == ("3x3", "32x24", 8)
    polar = inspect_file(scene["polarization"])
    assert polar["angles_deg"] == [0, 45, 90, 135]
    lidar = inspect_file(scene["lidar"])
    assert lidar["points"] == 300
    assert lidar["distance_m"][2] < 31


def test_a_converted_file_knows_its_source(scene, tmp_path: Path) -> None:
    made = convert_file(scene["event"], tmp_path, options={"norm": "none"}, dtype="float32")
    report = inspect_file(made.output)
    with h5py.File(made.output) as f:
        frames = f["frames"][:]
    assert report["shape"] == list(frames.shape)
    assert report["values"] == pytest.approx([frames.min(), frames.max()], rel=1e-5)
    assert report["zero_share"] == pytest.approx((frames == 0).mean(), rel=1e-4)
    assert report["source"] == "events.h5"
    assert report["parameters"]["norm"] == "none"
    assert report["duration_s"] == pytest.approx(0.15)
    assert len(report["source_sha256"]) == 64


def test_refused_formats_come_with_advice(tmp_path: Path, armseg) -> None:
    path = tmp_path / "shot.lfp"
    path.write_bytes(b"\x89LFP\r\n\x1a\n" + bytes(100))
    report = inspect_file(path)
    row = next(reader for reader in readers_for() if reader.name == "lfp")
    assert report["kind"] == "refused"
    assert report["advice"] == row.refuse
    shown = armseg("inspect", path)
    assert shown.exit_code == 0
    assert row.refuse[:30] in shown.stdout
    refused = armseg("convert", path)
    assert refused.exit_code == 2
    assert row.refuse[:30] in refused.stderr


def test_an_option_that_reading_needs(tmp_path: Path, armseg) -> None:
    (tmp_path / "events.txt").write_text(
        "".join(f"{i * 0.001:.6f} {i % 30} {i % 20} {i % 2}\n" for i in range(50))
    )
    result = armseg("inspect", tmp_path / "events.txt", "-m", "event", "--set", "sensor-size=32x24", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["size"] == "32x24"
    result = armseg("inspect", tmp_path / "events.txt", "--set", "sensor-size")
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr
