"""convert_file, to_tensor and guess_format: the whole way of one recording."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import raw_files
from toy_sensor import change_readers, sonar, write  # noqa: F401  (fixture)

from armseg_core.conversion.convert import cast_frame, convert_file, guess_format, to_tensor
from armseg_core.errors import ArmsegError, FormatError, InputError, OutputError, UsageError
from armseg_core.files import hashing
from armseg_core.files.hashing import source_hash
from armseg_core.files.ownership import seal_end
from armseg_core.files.tensor_file import SensorTensor, TensorFile, TensorInfo
from armseg_core.sensors.modalities import MODALITIES
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.recognition import sniff


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One recording per sensor. Read only."""
    return raw_files.scene(tmp_path_factory.mktemp("scene"))


# what the files do not say, so that nothing has to be assumed
READ = {"depth": {"depth_unit": "mm"}, "polarization": {"bits": 12, "pattern": "90,45,135,0"}}


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- one file of every sensor ----------------------------------------------------------------------------


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_every_sensor_converts_without_options(scene: dict[str, Path], sensor: str, tmp_path: Path) -> None:
    before = source_hash(scene[sensor])
    made = convert_file(scene[sensor], tmp_path)

    assert made.modality == sensor
    assert made.representation == MODALITIES[sensor].representation
    assert Path(made.output).parent == tmp_path
    assert source_hash(scene[sensor]) == before, "the recording was written to"
    with h5py.File(made.output) as f:  # readable without armseg
        assert f["frames"].shape == made.shape
        assert str(f["frames"].dtype) == made.dtype
        assert f["t_us"].shape == (made.windows,)
        assert f.attrs["modality"] == sensor
        assert f.attrs["source_sha256"] == before[0]
        assert f.attrs["complete"]
        assert np.isfinite(f["frames"][:].astype(np.float32)).all()


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_raw_and_converted_give_the_same_model_tensor(scene, sensor: str, tmp_path: Path) -> None:
    raw = to_tensor(scene[sensor], options=READ.get(sensor))
    dtype = None if sensor == "light_field" else "float32"
    stored = to_tensor(convert_file(scene[sensor], tmp_path, dtype=dtype).output)
    channels = MODALITIES[sensor].num_channels
    for tensor in (raw, stored):
        assert tensor.frames.dtype == np.float32
        assert tensor.frames.shape[:2] == (1, channels)
        assert tensor.info.channels == MODALITIES[sensor].channels
    assert raw.frames.shape == stored.frames.shape
    if (
        sensor != "event"
    ):  # the last stored window is on the grid of windows, the raw one ends with the recording
        np.testing.assert_array_equal(raw.frames, stored.frames)


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_guess_format(scene, sensor: str, tmp_path: Path) -> None:
    assert guess_format(scene[sensor]) == (sensor, sniff(scene[sensor]))
    assert guess_format(convert_file(scene[sensor], tmp_path).output) == (sensor, None)


def test_guess_format_leaves_rgb_and_labels_open(scene) -> None:
    folder = scene["depth"].parent
    assert guess_format(folder / "rgb.png")[0] is None
    assert guess_format(folder / "label.png")[0] is None
    assert guess_format(folder / "caption.txt")[0] is None
    assert guess_format(folder / "missing.h5")[0] is None


def test_a_photo_without_a_telling_name_is_no_sensor(tmp_path: Path) -> None:
    assert guess_format(raw_files.rgb(tmp_path / "x" / "y" / "IMG0001.png"))[0] is None


# --- events ----------------------------------------------------------------------------------------------


def test_event_windows_and_summary(scene, tmp_path: Path) -> None:
    made = convert_file(scene["event"], tmp_path, options={"window": "50ms", "bins": 3})
    assert made.shape == (4, 3, 480, 640)
    assert made.dtype == "float16"
    assert made.events == 2000
    assert made.duration_s == pytest.approx(0.199999)
    assert made.event_rate == pytest.approx(2000 / 0.199999)
    with TensorFile(made.output) as file:
        assert np.diff(file.t_us).tolist() == [50_000] * 3
        assert 1_000_000 < file.t_us[0] <= 1_050_000  # absolute: t_offset is added
        assert file.info.parameters["window"] == 50_000
        assert file.info.parameters["reader"] == sniff(scene["event"]).name


def test_end_times_give_one_frame_per_label(scene, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("1080000\n1150000\n")
    made = convert_file(scene["event"], tmp_path, options={"end_times": labels})
    with TensorFile(made.output) as file:
        assert file.t_us.tolist() == [1_080_000, 1_150_000]
        assert file.info.parameters["end_times"] == "labels.txt"
        assert file.info.parameters["files"] == {"end_times": hashlib.sha256(labels.read_bytes()).hexdigest()}
        for index, end in enumerate(file.t_us):
            alone = to_tensor(scene["event"], at_us=int(end))
            np.testing.assert_allclose(file.frame(index).astype(np.float32), alone.frames[0], atol=4e-3)


def test_event_tensor_ends_with_the_recording_by_default(scene) -> None:
    tensor = to_tensor(scene["event"])
    assert tensor.t_us.tolist() == [1_200_000]  # the last event at 1_199_999 is inside
    assert tensor.info.parameters["reader"]


def test_event_tensor_outside_the_recording(scene) -> None:
    for at in (0, 1_000_000, 1_250_000):
        with pytest.raises(InputError, match="outside the recording"):
            to_tensor(scene["event"], at_us=at)


def test_raw_events_are_resized_by_coordinates(scene) -> None:
    """Every event is kept: sums over pixels do not depend on the size."""
    full = to_tensor(scene["event"], options={"norm": "none"}).frames[0]
    small = to_tensor(scene["event"], size=(48, 64), options={"norm": "none"}).frames[0]
    assert small.shape == (5, 48, 64)
    np.testing.assert_allclose(small.sum((1, 2)), full.sum((1, 2)), atol=1e-2)


def test_raw_points_are_projected_at_the_size_asked_for(scene) -> None:
    """A fine grid holds every point, which nearest-neighbor resizing of a coarse picture could not."""
    coarse = to_tensor(scene["lidar"]).frames[0, 2].sum()
    fine = to_tensor(scene["lidar"], size=(240, 320)).frames[0]
    assert fine.shape == (3, 240, 320)
    assert 300 >= fine[2].sum() > coarse


def test_nearest_stored_frame(tmp_path: Path) -> None:
    channels = MODALITIES["event"].channels
    frames = np.zeros((3, 5, 4, 6), np.float16) + np.arange(3, dtype=np.float16)[:, None, None, None]
    info = TensorInfo("event", "voxel_grid", channels, ("",) * 5, (-3, 3))
    SensorTensor(frames, np.array([100, 200, 300]), info).save(tmp_path / "x.h5")
    for at, expected in ((None, 2), (0, 0), (149, 0), (151, 1), (999, 2)):
        tensor = to_tensor(tmp_path / "x.h5", at_us=at)
        assert tensor.frames[0, 0, 0, 0] == expected
        assert tensor.t_us.tolist() == [(expected + 1) * 100]


# --- resizing and precision ------------------------------------------------------------------------------


def test_depth_is_never_interpolated(scene) -> None:
    full = to_tensor(scene["depth"], options=READ["depth"]).frames[0]
    small = to_tensor(scene["depth"], size=(7, 9), options=READ["depth"]).frames[0]
    assert set(np.unique(small[0])) <= set(np.unique(full[0]))
    assert set(np.unique(small[1])) <= {0.0, 1.0}
    assert (small[0][small[1] == 0] == 0).all()


def test_polarization_is_resized_as_stokes(tmp_path: Path) -> None:
    """Two half planes polarized at right angles: their mean is unpolarized, whatever their own degree."""
    frame = np.zeros((4, 2, 2), np.float32)
    frame[0], frame[1], frame[3] = 1.0, 0.8, [[1, -1], [1, -1]]  # s0, dolp, cos 2A
    info = TensorInfo("polarization", "stokes", MODALITIES["polarization"].channels, ("",) * 4, (-1, 1))
    SensorTensor(frame[None], np.zeros(1, np.int64), info).save(tmp_path / "p.h5")
    s0, dolp, sine, cosine = to_tensor(tmp_path / "p.h5", size=(1, 1)).frames[0, :, 0, 0]
    assert (s0, dolp, sine, cosine) == pytest.approx((1, 0, 0, 0))


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    """Neighboring counts stay apart in the stored tensor and in the model tensor."""
    ramp = np.arange(60_000, 60_000 + 24 * 32).reshape(24, 32).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "depth.png"), ramp)
    cv2.imwrite(str(tmp_path / "thermal.tiff"), ramp)
    with TensorFile(convert_file(tmp_path / "depth.png").output) as file:
        assert len(np.unique(file.frame(0)[0])) == ramp.size
    assert len(np.unique(to_tensor(tmp_path / "depth.png", options=READ["depth"]).frames[0, 0])) == ramp.size
    with TensorFile(convert_file(tmp_path / "thermal.tiff").output) as file:
        assert len(np.unique(file.frame(0))) > 0.97 * ramp.size  # the outer 1 % are clipped to 0 and 1


def test_light_field_views_are_stored_as_they_are(scene, tmp_path: Path) -> None:
    made = convert_file(scene["light_field"], tmp_path)
    assert made.dtype == "uint8"
    assert made.shape == (1, 27, *raw_files.SIZE)
    assert Path(made.output).name == "light_field.views.h5"
    picture = cv2.cvtColor(cv2.imread(str(scene["light_field"] / "2_3.png")), cv2.COLOR_BGR2RGB)
    with TensorFile(made.output) as file:
        at = file.info.channels.index("u1v2r")
        np.testing.assert_array_equal(file.frame(0)[at : at + 3], picture.transpose(2, 0, 1))


def test_values_that_do_not_fit_a_dtype_are_refused() -> None:
    with pytest.raises(UsageError, match=r"do not fit float16.*float32"):
        cast_frame(np.array([[[70_000.0]]], np.float32), "float16")
    with pytest.raises(UsageError, match="do not fit uint8"):
        cast_frame(np.array([[[0.5]]], np.float32), "uint8")
    with pytest.raises(UsageError, match="do not fit uint8"):
        cast_frame(np.array([[[-1.0]]], np.float32), "uint8")
    assert cast_frame(np.array([[[255.0]]], np.float32), "uint8").dtype == np.uint8


def test_the_cast_to_float16_rounds_like_numpy() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 300_000, dtype=np.uint32).view(np.float32)
    small = np.array([0.0, -0.0, 2.0**-24, 2.0**-25, 6.0e-8, 65504, -65504, 1.5], np.float32)
    values = np.concatenate([bits[np.abs(bits) <= 65504], small])[None, None]
    before = values.copy()
    cast = cast_frame(values, "float16")
    np.testing.assert_array_equal(cast, values.astype(np.float16))
    np.testing.assert_array_equal(values, before)


# --- output paths ----------------------------------------------------------------------------------------


def test_output_goes_beside_the_recording(tmp_path: Path) -> None:
    raw = raw_files.depth(tmp_path / "a" / "depth.png")
    assert convert_file(raw).output == str(tmp_path / "a" / "depth.metric.h5")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("out.h5", "out.h5"),
        ("new/deep/out.h5", "new/deep/out.h5"),
        ("folder", "folder/depth.metric.h5"),
        ("fresh/", "fresh/depth.metric.h5"),
        ("bare", "bare/depth.metric.h5"),
        ("v1.2/", "v1.2/depth.metric.h5"),
    ],
)
def test_output_file_or_folder(tmp_path: Path, monkeypatch, given: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    raw_files.depth(Path("depth.png"))
    Path("folder").mkdir()
    assert convert_file("depth.png", given).output == expected
    assert Path(expected).is_file()


def test_the_recording_is_never_overwritten(tmp_path: Path) -> None:
    raw = raw_files.events(tmp_path / "events.h5")
    before = raw.read_bytes()
    (tmp_path / "link.h5").symlink_to(raw)
    for output in (raw, tmp_path / "x" / ".." / "events.h5", tmp_path / "link.h5"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="overwrite the recording"):
            convert_file(raw, output)
    assert raw.read_bytes() == before


def test_files_of_others_are_never_overwritten(tmp_path: Path) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    other = raw_files.events(tmp_path / "events.h5")
    before = other.read_bytes()
    with pytest.raises(OutputError, match="not made by armseg"):
        convert_file(raw, other)
    assert other.read_bytes() == before


def test_no_output_inside_a_recording_folder(tmp_path: Path) -> None:
    raw = raw_files.light_field(tmp_path / "lf")
    with pytest.raises(UsageError, match="inside the recording"):
        convert_file(raw, raw / "lf.h5")


def test_a_failed_conversion_leaves_the_old_output_alone(tmp_path: Path) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    output = Path(convert_file(raw).output)
    before = output.read_bytes()
    raw.write_bytes(raw.read_bytes()[:200])
    with pytest.raises(FormatError):
        convert_file(raw)
    assert output.read_bytes() == before
    assert listing(tmp_path) == {"depth.png", "depth.metric.h5"}


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """The writer dies after the first window: no output, no temporary file."""
    from armseg_core.conversion import convert as conversion

    raw = raw_files.events(tmp_path / "events.h5")
    calls = []

    def fails(frame: np.ndarray, dtype: str) -> np.ndarray:
        calls.append(dtype)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return frame.astype(dtype)

    monkeypatch.setattr(conversion, "cast_frame", fails)
    with pytest.raises(KeyboardInterrupt):
        convert_file(raw)
    assert listing(tmp_path) == {"events.h5"}


# --- whole and current -----------------------------------------------------------------------------------


def test_not_converted_again_when_whole_and_current(tmp_path: Path) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    made = convert_file(raw, force=False)
    stamp = os.stat(made.output).st_mtime_ns
    again = convert_file(raw, force=False)
    assert (made.skipped, again.skipped) == (False, True)
    assert again.shape == made.shape
    assert os.stat(made.output).st_mtime_ns == stamp
    assert not convert_file(raw, force=True).skipped


def change_source(raw: Path, output: Path) -> dict:
    raw_files.depth(raw, seed=99)
    return {}


def change_option(raw: Path, output: Path) -> dict:
    return {"options": {"depth_unit": "cm"}}


def change_dtype(raw: Path, output: Path) -> dict:
    return {"dtype": "float16"}


def change_version(raw: Path, output: Path) -> dict:
    with h5py.File(output, "r+") as f:
        f.attrs["armseg_version"] = "0.0.1"
    seal_end(output)  # as that version would have left it
    return {}


@pytest.mark.parametrize("change", [change_source, change_option, change_dtype, change_version])
def test_converted_again_when_anything_changed(tmp_path: Path, change) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    output = Path(convert_file(raw).output)
    settings = change(raw, output)
    assert not convert_file(raw, force=False, **settings).skipped
    assert convert_file(raw, force=False, **settings).skipped


def test_a_damaged_output_is_made_again_with_force(tmp_path: Path) -> None:
    """What is damaged cannot prove that armseg made it."""
    raw = raw_files.depth(tmp_path / "depth.png")
    output = Path(convert_file(raw).output)
    output.write_bytes(output.read_bytes()[:-2000])
    with pytest.raises(OutputError, match="--force"):
        convert_file(raw)
    assert not convert_file(raw, force=True).skipped
    assert convert_file(raw).skipped


def test_a_changed_file_option_is_noticed(tmp_path: Path) -> None:
    raw = raw_files.events(tmp_path / "events.h5")
    labels = tmp_path / "labels.txt"
    labels.write_text("1100000\n")
    convert_file(raw, options={"end_times": labels})
    assert convert_file(raw, options={"end_times": labels}, force=False).skipped
    labels.write_text("1150000\n")
    assert not convert_file(raw, options={"end_times": labels}, force=False).skipped


def test_a_changed_file_beside_the_recording_is_noticed(tmp_path: Path) -> None:
    raw = raw_files.lidar(tmp_path / "lidar.bin")
    convert_file(raw)
    assert convert_file(raw, force=False).skipped
    calib = tmp_path / "calib.json"
    calib.write_text(calib.read_text().replace("30", "31"))
    assert not convert_file(raw, force=False).skipped


def test_very_large_sources_are_hashed_by_samples(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hashing, "FULL_HASH_BYTES", 3_000_000)
    path = tmp_path / "big.bin"
    data = bytearray(np.random.default_rng(0).bytes(4_000_000))
    path.write_bytes(data)
    digest, rule = source_hash(path)
    assert rule == hashing.SAMPLED
    stat = path.stat()
    assert source_hash(path) == (digest, rule)
    data[-5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source_hash(path)[0] != digest  # the last MiB counts even with the same time
    data[-5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert source_hash(path)[0] != digest  # the time counts
    small = tmp_path / "small.bin"
    small.write_bytes(b"abc")
    assert source_hash(small) == (hashlib.sha256(b"abc").hexdigest(), hashing.FULL)


def test_a_recording_that_grows_while_it_is_read_is_noted(tmp_path: Path, sonar, monkeypatch) -> None:  # noqa: F811
    raw = write(tmp_path / "a.sonar", np.ones((4, 5)))

    def slow(row: Reader) -> Reader:
        def read(path: Path, options):
            values = row.read(path, options)
            os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
            return values

        return replace(row, read=read)

    change_readers(monkeypatch, slow)
    assert any("changed while it was read" in note for note in convert_file(raw).notes)


# --- options and errors ----------------------------------------------------------------------------------


def test_an_option_of_another_sensor_names_its_owners(scene) -> None:
    with pytest.raises(UsageError, match=r"--bins: does not apply to .*depth camera.*event"):
        convert_file(scene["depth"], options={"bins": 5})
    with pytest.raises(UsageError, match=r"--calibration.*lidar or polarization"):
        convert_file(scene["depth"], options={"calibration": "x"})


def test_a_misspelt_option_gets_a_suggestion(scene) -> None:
    with pytest.raises(UsageError, match=r"windov.*window"):
        convert_file(scene["event"], options={"windov": "50ms"})


def test_a_missing_option_file(scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--end-times.*none.txt: no such file"):
        convert_file(scene["event"], tmp_path, options={"end_times": tmp_path / "none.txt"})


def test_unknown_names_are_refused_with_the_known_ones(scene) -> None:
    with pytest.raises(UsageError, match=r"unknown modality 'evnt'.*event"):
        convert_file(scene["event"], modality="evnt")
    with pytest.raises(UsageError, match=r"unknown representation 'voxel'.*voxel_grid"):
        convert_file(scene["event"], representation="voxel")
    with pytest.raises(UsageError, match=r"unknown dtype 'float64'.*float32"):
        convert_file(scene["event"], dtype="float64")
    with pytest.raises(UsageError, match="'rgb' is not a sensor"):
        convert_file(scene["depth"].parent / "rgb.png", modality="rgb")


def test_the_wrong_sensor_is_refused(scene, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not a recording of the event camera"):
        convert_file(scene["lidar"], modality="event")
    stored = convert_file(scene["depth"], tmp_path).output
    with pytest.raises(UsageError, match="holds frames of the sensor 'depth'"):
        to_tensor(stored, modality="thermal")


def test_frames_that_are_no_model_input_are_refused(scene, tmp_path: Path) -> None:
    stored = convert_file(scene["event"], tmp_path, options={"bins": 7}).output
    with pytest.raises(FormatError, match=r"bin6.*expected bin0, bin1"):
        to_tensor(stored)


# --- one row per sensor ----------------------------------------------------------------------------------


def test_a_new_sensor_is_one_row(sonar, tmp_path: Path, armseg) -> None:  # noqa: F811
    values = np.random.default_rng(0).random((6, 8)).astype(np.float32)
    raw = write(tmp_path / "ping.sonar", values)
    assert sniff(raw).name == "sonar1"
    assert guess_format(raw)[0] == "sonar"
    made = convert_file(raw, options={"gain": 2})
    assert (made.modality, made.shape, made.dtype) == ("sonar", (1, 2, 6, 8), "float32")
    np.testing.assert_array_equal(to_tensor(raw).frames[0, 0], values)
    np.testing.assert_array_equal(to_tensor(made.output).frames[0, 0], values * 2)
    assert to_tensor(raw, size=(3, 4)).frames.shape == (1, 2, 3, 4)
    shown = armseg("inspect", raw)
    assert shown.exit_code == 0
    assert "sonar dump" in shown.stdout
    with pytest.raises(UsageError, match="--bins: does not apply to a recording of the sonar"):
        convert_file(raw, options={"bins": 3})
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated"):
        convert_file(raw, tmp_path / "y.h5")
    assert listing(tmp_path) == {"ping.sonar", "ping.echo.h5"}


def test_conversion_errors_are_one_line(scene, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (
            lambda: convert_file(tmp_path / "none.h5"),
            lambda: to_tensor(tmp_path / "none.h5"),
            lambda: convert_file(scene["depth"], scene["thermal"] / "below.h5"),
        ):
            with pytest.raises(ArmsegError) as error:
                call()
            assert "\n" not in str(error.value)
