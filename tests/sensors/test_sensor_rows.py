"""Every sensor is one row that fits together, and rows of other packages join them or are left out."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import armseg_sonar
import numpy as np
import pytest
from toy_sensor import sonar, use_plugins  # noqa: F401  (fixture)

from armseg_core import plugins
from armseg_core.config.base import Options
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.sensors import MODALITIES, RGB, SENSORS, Modality, get_modality, parse_modalities
from armseg_core.sensors.drawing import render_model_tensor
from armseg_core.sensors.modalities import BUILT_IN, sensor_plugins
from armseg_core.sensors.modality import row_problems
from armseg_core.sensors.recognition import format_table, readers_for
from armseg_core.sensors.representations import get_representation, model_tensor


@pytest.mark.parametrize("row", SENSORS.values(), ids=lambda row: row.name)
def test_the_row_of_a_sensor_fits_together(row: Modality) -> None:
    assert row_problems(row) == []
    assert get_representation(row.name).name == row.representation
    assert get_modality(row.name.upper()) is row
    assert all(get_modality(alias) is row for alias in row.aliases)
    frame = np.random.default_rng(0).random((row.num_channels, 6, 8)).astype(np.float32)
    np.testing.assert_array_equal(model_tensor(row.name, frame, row.channels), frame)
    assert render_model_tensor(frame, row.name).shape == (6, 8, 3)


@pytest.mark.parametrize("row", SENSORS.values(), ids=lambda row: row.name)
def test_a_resized_model_tensor_keeps_its_channels(row: Modality) -> None:
    if row.resize is not None:
        frame = np.random.default_rng(0).random((row.num_channels, 6, 8)).astype(np.float32)
        assert row.resize(frame, (3, 4)).shape == (row.num_channels, 3, 4)


def test_the_folders_decide_the_order() -> None:
    assert tuple(SENSORS) == BUILT_IN
    assert tuple(MODALITIES) == (RGB.name, *BUILT_IN)
    assert parse_modalities("all") == BUILT_IN
    assert [reader.modality for reader in readers_for()] == sorted(
        (reader.modality for reader in readers_for()), key=BUILT_IN.index
    )
    with pytest.raises(KeyError):
        SENSORS["rgb"]


SONAR = armseg_sonar.SENSOR


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "So-nar"}, "small letters"),
        ({"title": ""}, "title or prompt"),
        ({"channels": ("echo", "echo")}, "named twice"),
        ({"value_range": (1.0, 0.0)}, "low < high"),
        ({"pseudo_rgb": ((1.0, 1.0, 1.0),)}, "pseudo_rgb is not one"),
        ({"nearest": ("valid",)}, "other channels"),
        ({"options": dict}, "not a group of options"),
        ({"readers": ()}, "readers are missing"),
        ({"readers": SONAR.readers * 2}, "readers are missing or named twice"),
        ({"representation": "none"}, "no representation 'none'"),
        ({"representations": SONAR.representations * 2}, "representations are named twice"),
        ({"readers": SENSORS["depth"].readers}, "are of depth, sonar"),
    ],
)
def test_what_does_not_fit_in_a_row_is_said(change: dict, problem: str) -> None:
    assert row_problems(SONAR) == []
    assert any(problem in found for found in row_problems(replace(SONAR, **change)))


# -- plug-ins


def test_a_plugin_joins_the_tables(sonar) -> None:  # noqa: F811
    assert tuple(SENSORS) == (*BUILT_IN, "sonar")
    assert get_modality("echosounder") is SENSORS["sonar"]
    assert readers_for("sonar") == readers_for()[-1:]
    assert parse_modalities("all")[-1] == "sonar"
    assert "sonar dump" not in format_table()  # the table of the README is of this package alone
    assert [(plugin.origin, plugin.problem) for plugin in sensor_plugins()] == [("armseg-toy 1.0", "")]


def test_a_plugin_may_bring_several_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (*SONAR.readers, *SONAR.representations)
    reader, made = (replace(part, name=f"{part.name}_2", modality="radar") for part in parts)
    radar = replace(
        SONAR, name="radar", aliases=(), readers=(reader,), representations=(made,), representation=made.name
    )
    use_plugins(monkeypatch, (SONAR, radar))
    assert tuple(SENSORS)[-2:] == ("sonar", "radar")


class _Other(Options):
    """No row."""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (_Other(), "loads _Other, not a Modality row"),
        (replace(SONAR, name="depth"), "readers and representations are of sonar"),
        (replace(SENSORS["depth"], title="better depth"), "the name 'depth' belongs to the depth camera"),
        (replace(SONAR, aliases=("dvs",)), "the name 'dvs' belongs to the event camera"),
        (replace(SONAR, aliases=("image",)), "the name 'image' belongs to the picture of any bands"),
        (
            replace(SONAR, readers=(replace(SONAR.readers[0], name="kitti-bin"),)),
            "the format 'kitti-bin' belongs to the LiDAR",
        ),
        (replace(SONAR, channels=None), "its row cannot be read (TypeError"),
    ],
    ids=lambda value: None if isinstance(value, str) else getattr(value, "name", type(value).__name__),
)
def test_a_plugin_that_does_not_fit_is_left_out_with_one_warning(monkeypatch, value, problem: str) -> None:
    before = dict(SENSORS)
    use_plugins(monkeypatch, value, SONAR if problem.startswith("loads") else _Other())
    with pytest.warns(ArmsegWarning) as said:
        names = tuple(SENSORS)
    assert set(before) <= set(names)
    assert all(SENSORS[name] is row for name, row in before.items())  # nothing built in is replaced
    lines = [str(warning.message) for warning in said]
    assert sum(problem in line for line in lines) == 1
    assert "the sensor plug-in 'toy0' of armseg-toy 1.0 is left out: " in lines[0]
    assert tuple(SENSORS) == names  # no second warning, which would be an error here


class _Entry:
    """An entry point as importlib.metadata gives it."""

    group, value, module = "armseg.sensors", "broken_module:SENSOR", "broken_module"

    def __init__(self, name: str, error: Exception | None, dist: object = None) -> None:
        self.name, self.error, self.dist = name, error, dist

    def load(self) -> object:
        if self.error:
            raise self.error
        return SONAR


def test_entry_points_are_loaded_once_and_failures_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [_Entry("b", ImportError("No module\nnamed x")), _Entry("a", None)]
    asked: list[str] = []

    def entry_points(group: str) -> list[_Entry]:
        asked.append(group)
        return entries

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    plugins.load_plugins.cache_clear()
    try:
        good, bad = plugins.load_plugins("armseg.toys")
        assert plugins.load_plugins("armseg.toys") == (good, bad)
    finally:
        plugins.load_plugins.cache_clear()
    assert asked == ["armseg.toys"]
    assert (good.name, good.value, good.problem) == ("a", SONAR, "")
    assert bad.value is None
    assert bad.problem == "broken_module:SENSOR cannot be loaded (ImportError: No module named x)"


def test_an_unknown_sensor_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown modality 'sonar' \(expected one of rgb, event, thermal"):
        get_modality("sonar")
