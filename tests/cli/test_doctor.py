"""`armseg doctor` finds what is really broken."""

from __future__ import annotations

import importlib.metadata
import json
import sys

import pytest
from armseg_sonar import SENSOR
from toy_sensor import use_plugins

from armseg_core import environment


def checks(function) -> dict[str, environment.Check]:
    return {check.name: check for check in function()}


def test_a_working_installation_is_usable() -> None:
    found = environment.check_environment()
    needed = [check for check in found if check.group in ("system", "packages", "torch", "files")]
    assert [check for check in needed if check.status == "broken"] == []
    assert {"16-bit PNG", "16-bit TIFF", "HDF5 blosc", "HDF5 zstd"} <= {check.name for check in found}


def test_a_missing_hdf5_plugin_is_broken_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    row = checks(environment._packages)["hdf5plugin"]
    assert (row.status, row.fix) == ("broken", "pip install hdf5plugin")
    assert not environment.is_usable([row])


def test_an_image_library_that_drops_bits_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2
    import numpy as np

    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: np.zeros((8, 8), np.uint8))
    assert {row.status for row in environment._image_codecs()} == {"broken"}


def test_a_torchvision_that_does_not_match_names_its_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(environment, "_version", lambda package: "2.9.1+cu128")
    assert (
        checks(environment._packages)["torchvision"].fix == "pip install 'torch==2.9.*' 'torchvision==0.24.*'"
    )


def test_two_opencv_variants_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "5.0" if name == "opencv-python-headless" else real(name)
    )
    row = checks(environment._packages)["OpenCV variants"]
    assert row.status == "note"
    assert row.fix.startswith("pip uninstall -y opencv-python opencv-python-headless")


def test_plugins_are_listed_with_what_is_wrong_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks(environment._plugins) == {}
    use_plugins(monkeypatch, SENSOR, "no row")
    found = checks(environment._plugins)
    assert (found["sensor toy0"].status, found["sensor toy0"].detail) == ("ok", "armseg-toy 1.0: loads")
    bad = found["sensor toy1"]
    assert (bad.status, bad.fix) == ("note", "pip install -U armseg-toy, or pip uninstall armseg-toy")
    assert "it loads str, not a Modality row" in bad.detail


def test_a_check_that_crashes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def _bad():
        raise RuntimeError("unforeseen")
        yield

    monkeypatch.setattr(environment, "_CHECKS", (("files", _bad),))
    assert environment.check_environment() == [
        environment.Check("files", "bad", "broken", "RuntimeError: unforeseen")
    ]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("note", 0), ("broken", 2)])
def test_exit_code_and_json(
    armseg, monkeypatch: pytest.MonkeyPatch, status: environment.Status, code: int
) -> None:
    row = environment.Check("files", "thing", status, "detail", "type this")
    monkeypatch.setattr(environment, "check_environment", lambda: [row])
    result = armseg("doctor", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"usable": code == 0, "checks": [row.to_dict()]}
    table = armseg("doctor")
    assert table.exit_code == code
    assert "type this" in table.stdout
