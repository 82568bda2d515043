"""The options of the sensors: the same by flag and by `--set` in every command that reads recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import raw_files
from one_line import assert_refused
from PIL import Image
from small_models import small_model

from armseg_cli.main import COMMANDS, app
from armseg_core.files.tensor_file import TensorFile
from armseg_core.learning.model_folder import save
from armseg_core.sensors import SENSORS
from armseg_core.sensors.modalities import readable_as

READING = ("convert", "inspect", "visualize", "predict")
OPTIONS = {name: row.options for name, row in SENSORS.items()}
ALL = readable_as()  # the sensors, and pictures of any bands
OWN = {("visualize", "frame")}  # flags of a command with the name of an option: the option is for --set only


def parameters(name: str) -> dict[str, Any]:
    """The parameters of a command by name, as typer has them."""
    import typer

    group: Any = typer.main.get_command(app)
    found = group.get_command(group.make_context("armseg", [], resilient_parsing=True), name)
    return {parameter.name: parameter for parameter in found.params}


# --- every option ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READING)
def test_every_option_has_a_flag_and_stands_in_the_help_of_its_sensor(command: str, armseg) -> None:
    known = parameters(command)
    plain = armseg(command, "--help").stdout
    for sensor, row in ALL.items():
        group = row.options
        assert sensor in plain.split(f"armseg {command} --modality SENSOR --help")[1]
        shown = armseg(command, "--modality", sensor, "--help").stdout.split("Options of the ")[-1]
        assert shown.startswith(row.title)
        for name, field in group.model_fields.items():
            flag = f"--{name.replace('_', '-')}"
            written = flag if (command, name) not in OWN else f"--set {name}="
            assert written in shown
            assert (field.description or "").split()[0] in shown
            if (command, name) not in OWN:
                assert flag in known[name].opts
        others = {name for other in ALL.values() for name in other.options.model_fields} - set(
            group.model_fields
        )
        assert [name for name in others if f"  --{name.replace('_', '-')} " in shown] == []


@pytest.mark.parametrize("command", READING)
def test_set_help_lists_every_option_by_sensor(command: str, armseg) -> None:
    result = armseg(command, "--set", "help")
    assert result.exit_code == 0, result.stderr
    parts = result.stdout.split("Options of the ")[1:]
    assert [part.splitlines()[0].strip() for part in parts] == [row.title for row in ALL.values()]
    for part, row in zip(parts, ALL.values(), strict=True):
        rows = {line.split()[0]: line for line in part.splitlines()[1:] if line.split()}
        for name, field in row.options.model_fields.items():
            assert " ".join((field.description or "").split()[:3]) in rows[name]
    one = armseg(command, "--modality", "ir", "--set", "help").stdout
    assert one.count("Options of the ") == 1
    assert "50ms" not in one


def test_set_help_says_type_and_default(armseg) -> None:
    rows = {
        line.split()[0]: line.split()
        for line in armseg("convert", "--set", "help").stdout.splitlines()
        if line.split()
    }
    assert rows["window"][1:3] == ["TIME", "50ms"]
    assert rows["norm"][1:3] == ["dsec|none", "dsec"]
    assert rows["rectify"][1:3] == ["yes|no", "yes"]
    assert rows["planes"][1:3] == ["N", "8"]
    assert rows["gamma"][1:3] == ["X", "1.0"]
    assert rows["image_size"][1] == "WxH"
    assert rows["calibration"][1] == "FILE"


# --- from the command line to the reader -----------------------------------------------------------------

VALUES: dict[tuple[str, str], tuple[str, object]] = {  # text that differs from the default, and what it means
    ("event", "tau"): ("20ms", 20_000),
    ("event", "norm"): ("none", "none"),
    ("event", "hot_pixels"): ("90.5", 90.5),
    ("event", "rectify"): ("no", False),
    ("event", "polarity_missing"): ("yes", True),
    ("thermal", "thermal_unit"): ("tlinear", "tlinear"),
    ("thermal", "low_percentile"): ("3", 3.0),
    ("depth", "depth_unit"): ("cm", "cm"),
    ("depth", "intrinsics"): ("30,30,16,12", "30,30,16,12"),
    ("lidar", "calibration"): ("other.json", Path("other.json")),
    ("lidar", "image_size"): ("32x24", (24, 32)),
    ("polarization", "gamma"): ("2.2", 2.2),
    ("polarization", "pattern"): ("0,45,135,90", "0,45,135,90"),
    ("light_field", "planes"): ("4", 4),
    ("light_field", "disparity_range"): ("1.5", 1.5),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_clip: dict[str, str]) -> Path:
    """A folder with a recording of every sensor, another calibration, and a model for all of them."""
    folder = tmp_path_factory.mktemp("place")
    raw_files.scene(folder)
    (folder / "other.json").write_text((folder / "calib.json").read_text())
    save(small_model(small_clip, tuple(OPTIONS)), folder / "model")
    return folder


FILES = {
    "event": "events.h5",
    "thermal": "thermal.tiff",
    "depth": "depth.png",
    "lidar": "lidar.bin",
    "polarization": "polarization.png",
    "light_field": "light_field",
}


def command_line(command: str, sensor: str, output: Path) -> list[str]:
    given = [FILES[sensor], "--modality", sensor]
    return {
        "convert": ["convert", *given, "-o", str(output / "made.h5")],
        "inspect": ["inspect", *given],
        "visualize": ["visualize", *given, "-o", str(output / "made.png")],
        "predict": ["predict", "rgb.png", *given, "--model", "model", "--stretch", "-o", str(output)],
    }[command]


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(("sensor", "name"), VALUES)
def test_an_option_reaches_the_reader_by_flag_and_by_set(
    command: str, sensor: str, name: str, armseg, place: Path, tmp_path: Path, monkeypatch
) -> None:
    parsed: list[Any] = []
    group: Any = OPTIONS[sensor]
    parse = group.parse.__func__

    def spy(cls: Any, values: dict[str, Any], where: str | None = None) -> Any:
        parsed.append(parse(cls, values, where))
        return parsed[-1]

    monkeypatch.setattr(group, "parse", classmethod(spy))
    text, value = VALUES[sensor, name]
    flag = f"--{name.replace('_', '-')}"
    switch = {"yes": [flag], "no": [f"--no-{flag[2:]}"]}.get(text)
    for written in (switch or [flag, text], ["--set", f"{name}={text}"], ["--set", f"{flag[2:]}={text}"]):
        parsed.clear()
        result = armseg(*command_line(command, sensor, tmp_path), *written, cwd=place)
        assert result.exit_code == 0, f"{written}: {result.stderr}{result.exception!r}"
        assert value in [getattr(options, name) for options in parsed]


def test_what_is_converted_follows_the_option(armseg, place: Path, tmp_path: Path) -> None:
    for number, written in enumerate((["--bins", "3"], ["--set", "bins=3"])):
        made = tmp_path / f"{number}.h5"
        assert armseg("convert", "events.h5", *written, "-o", made, cwd=place).exit_code == 0
        with TensorFile(made) as file:
            assert (file.frames.shape[1], file.info.parameters["bins"]) == (3, 3)


def test_defaults_are_those_of_the_groups(tmp_path: Path, armseg) -> None:
    raw = raw_files.depth(tmp_path / "depth.png")
    assert armseg("convert", raw).exit_code == 0
    with TensorFile(tmp_path / "depth.metric.h5") as file:
        stored = {name: file.info.parameters[name] for name in OPTIONS["depth"].model_fields}
    assert stored == OPTIONS["depth"]().model_dump(mode="json")


def test_what_is_inspected_follows_the_option(armseg, place: Path) -> None:
    def deepest(*options: str) -> float:
        return float(
            json.loads(armseg("inspect", "depth.png", "--json", *options, cwd=place).stdout)["depth_m"][2]
        )

    assert deepest("--depth-unit", "cm") == deepest("--set", "depth_unit=cm") == pytest.approx(10 * deepest())


def test_what_is_drawn_follows_the_options(armseg, place: Path, tmp_path: Path) -> None:
    def drawn(*options: str) -> np.ndarray:
        result = armseg("visualize", *options, "-o", tmp_path / "made.png", cwd=place)
        assert result.exit_code == 0, result.stderr
        with Image.open(tmp_path / "made.png") as picture:
            return np.asarray(picture)

    plain, cm = drawn("depth.png"), drawn("depth.png", "--depth-unit", "cm")
    assert plain.shape != cm.shape or (plain != cm).any()
    shown = armseg(
        "visualize", "events.h5", "--count", "500", "--frame", "-1", "-o", tmp_path / "e.png", cwd=place
    )
    assert "frame 3 (of 0 to 3)" in shown.stdout
    shown = armseg("visualize", "events.h5", "-r", "time_surface", "-o", tmp_path / "e.png", cwd=place)
    assert "time surface" in shown.stdout


def test_a_frame_of_a_file_that_holds_many_is_drawn_by_flag_and_by_set(armseg, tmp_path: Path) -> None:
    depths = np.random.default_rng(0).uniform(1, 9, (3, 24, 32)).astype(np.float32)
    with h5py.File(tmp_path / "nyu.mat", "w") as file:
        file["depths"] = depths.transpose(0, 2, 1)

    def drawn(*options: str) -> bytes:
        result = armseg("visualize", "nyu.mat", *options, "-o", "made.png", cwd=tmp_path)
        assert result.exit_code == 0, result.stderr
        return (tmp_path / "made.png").read_bytes()

    assert drawn("--frame", "2") == drawn("--set", "frame=2") != drawn()
    assert_refused(armseg("visualize", "nyu.mat", "--frame", "3"), "frame 3 of 3", "--frame 0 to 2")
    raw_files.depth(tmp_path / "depth.png")
    assert_refused(armseg("visualize", "depth.png", "--frame", "1"), "no frame 1", "0 to 0")


def test_an_option_for_a_recording_is_refused_for_what_is_none(
    armseg, place: Path, sample_data: Path
) -> None:
    assert_refused(
        armseg("visualize", sample_data, "--bins", "3", cwd=place),
        "bins does not apply to a data set",
        "raw recording",
    )
    assert_refused(
        armseg("visualize", "rgb.png", "-r", "stokes", cwd=place), "--representation does not apply"
    )


# --- what cannot be right --------------------------------------------------------------------------------

WRONG = {
    "no value": (["--set", "depth_unit"], "--set depth_unit is not KEY=VALUE", "such as depth_unit=VALUE"),
    "an empty value": (["--set", "depth_unit="], "is not KEY=VALUE"),
    "no key": (["--set", "=mm"], "is not KEY=VALUE", "--set help"),
    "a typing error": (
        ["--set", "depth_untt=mm"],
        "unknown option 'depth_untt'",
        "did you mean 'depth_unit'",
    ),
    "nothing like it": (["--set", "xyzzy=mm"], "unknown option 'xyzzy'", "--set help lists every option"),
    "a typing error in a flag": (["--depth-untt", "mm"], "no such option: --depth-untt. Try: --depth-unit"),
    "a bad value": (["--set", "depth_unit=inch"], "'depth_unit' is 'inch'", "expected mm, cm"),
    "a bad value of a flag": (["--depth-unit", "inch"], "'depth_unit' is 'inch'", "expected mm, cm"),
    "a disagreement": (
        ["--depth-unit", "mm", "--set", "depth_unit=cm"],
        "--depth-unit and --set depth_unit disagree",
        "one of mm and cm",
        "leave one of the two out",
    ),
}


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_right_is_one_line(
    command: str, name: str, armseg, place: Path, tmp_path: Path
) -> None:
    given, *words = WRONG[name]
    assert_refused(armseg(*command_line(command, "depth", tmp_path), *given, cwd=place), *words)
    assert not list(tmp_path.iterdir())


def test_a_flag_and_a_set_that_mean_the_same_go_together(armseg, place: Path, tmp_path: Path) -> None:
    for given in (
        ("--window", "50ms", "--set", "window=0.05s"),
        ("--no-rectify", "--set", "rectify=no"),
        ("--set", "bins=4", "--set", "bins=3", "--bins", "3"),  # the last of a key counts
    ):
        result = armseg("convert", "events.h5", *given, "-o", tmp_path / "x.h5", "--force", cwd=place)
        assert result.exit_code == 0, result.stderr
    assert_refused(
        armseg("convert", "events.h5", "--no-rectify", "--set", "rectify=yes", cwd=place),
        "--rectify and --set rectify disagree",
        "one of no and yes",
    )


def test_null_is_the_default(armseg, place: Path, tmp_path: Path) -> None:
    result = armseg("convert", "events.h5", "--set", "hot-pixels=null", "-o", tmp_path / "x.h5", cwd=place)
    assert result.exit_code == 0, result.stderr
    with TensorFile(tmp_path / "x.h5") as file:
        assert file.info.parameters["hot_pixels"] is None


def test_the_sensor_of_the_help_may_stand_anywhere(armseg) -> None:
    texts = [
        armseg("convert", *given).stdout
        for given in (
            ("--help", "--modality=thermal"),
            ("-h", "-m", "infrared"),
            ("x", "-mthermal", "--help"),
        )
    ]
    assert texts[0] == texts[1] == texts[2]
    assert "Options of the thermal camera" in texts[0]
    assert_refused(armseg("convert", "--modality", "termal", "--help"), "unknown modality 'termal'")


def test_the_commands_that_read_are_all_here() -> None:
    reading = [row.name for row in COMMANDS if "hot_pixels" in parameters(row.name)]
    assert sorted(reading) == sorted(READING)
