"""A sensor from another package goes through every command, and nothing in this package knows of it."""

from __future__ import annotations

import json
from pathlib import Path

import armseg_sonar
import cv2
import numpy as np
import pytest
from installed_plugin import armseg, install
from places import REPOSITORY
from small_models import SMALL, write_clip
from toy_scenes import write_scenes

pytestmark = pytest.mark.slow  # each command is a process of its own

ROW = '[modalities.sonar]\npath = "sonar/{id}.sonar"\noptions = { gain = 2.0 }\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scenes, whose depth is beside as sonar, and a small CLIP."""
    place = tmp_path_factory.mktemp("data")
    scenes = write_scenes(place / "scenes", {"train": 4, "val": 2, "test": 2})
    for path in (scenes / "depth").glob("*.png"):
        meters = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / np.float32(1000)
        armseg_sonar.write(scenes / "sonar" / f"{path.stem}.sonar", meters / 20)
    toml = scenes / "dataset.toml"
    toml.write_text(toml.read_text().replace("[splits]", ROW + "[splits]"))
    write_clip(place / "clip")
    return place


@pytest.fixture(scope="module")
def run(site: Path, data: Path) -> Path:
    """A model folder trained for three steps on the sonar."""
    small = [part for key, value in SMALL.items() for part in ("--set", f"model.{key}={value}")]
    clip = ("--guide", "clip/clip.json", "--guide-weights", "clip/clip.safetensors")
    made = armseg(
        site, "train", "scenes", "--modalities", "sonar", *clip, *small,
        *("--steps", 3, "--batch-size", 2, "--workers", 1, "--device", "cpu", "--name", "ping"),
        cwd=data,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return data / "runs" / "ping-001"


def test_the_package_says_nothing_of_the_sensor() -> None:
    for room in ("armseg_core", "armseg_cli"):
        named = [p for p in (REPOSITORY / room).rglob("*.py") if "sonar" in p.read_text().lower()]
        assert [path.name for path in named] == ["plugins.py"] * (room == "armseg_core")  # the example there


def test_help_lists_the_options_of_the_sensor(site: Path, data: Path) -> None:
    shown = armseg(site, "convert", "--modality", "sonar", "--help", cwd=data)
    assert shown.returncode == 0, shown.stderr
    assert "--gain" in shown.stdout
    assert "Factor on the echoes. [1.0]" in " ".join(shown.stdout.split())
    without = armseg(None, "convert", "--modality", "sonar", "--help", cwd=data)
    assert without.returncode == 2
    assert "unknown modality 'sonar'" in without.stderr


def test_one_recording_is_said_converted_and_drawn(site: Path, data: Path, tmp_path: Path) -> None:
    raw = data / "scenes/sonar/test0.sonar"
    said = armseg(site, "inspect", raw, "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "sonar" in said.stdout
    made = armseg(site, "convert", raw, "-o", "made.h5", "--gain", 3, "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["shape"] == [1, 2, 40, 48]
    for source, name in ((raw, "raw.png"), ("made.h5", "made.png"), (data / "scenes", "sample.png")):
        drawn = armseg(site, "visualize", source, "-o", name, cwd=tmp_path)
        assert drawn.returncode == 0, drawn.stderr
        assert cv2.imread(str(tmp_path / name)) is not None
    many = armseg(site, "convert", data / "scenes/sonar", "-o", "all", "--workers", 2, "--json", cwd=tmp_path)
    assert many.returncode == 0, many.stderr
    assert json.loads(many.stdout)["converted"] == 8


def test_a_data_set_is_checked(site: Path, data: Path) -> None:
    found = armseg(site, "check", "scenes", "--json", cwd=data)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["sensors"]["test"]["sonar"] == 2
    wrong = armseg(None, "check", "scenes", cwd=data)
    assert wrong.returncode != 0
    assert "got 'sonar'" in " ".join(wrong.stdout.split())


def test_a_model_learns_is_measured_and_predicts(site: Path, data: Path, run: Path, tmp_path: Path) -> None:
    described = json.loads((run / "last/armseg.json").read_text())["modalities"]
    assert described == {"sonar": {"channels": ["echo", "slope"], "package": "armseg-toy"}}
    scored = armseg(site, "eval", "scenes", "--model", run, "--split", "test", "--json", cwd=data)
    assert scored.returncode == 0, scored.stderr
    assert "rgb+sonar" in {row["inputs"] for row in json.loads(scored.stdout)["rows"]}
    image, raw = data / "scenes/rgb/test0.png", data / "scenes/sonar/test0.sonar"
    made = armseg(site, "predict", image, raw, "--model", run, "-o", tmp_path / "made", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert list((tmp_path / "made").glob("*.png"))


def test_a_model_says_which_package_it_lacks(data: Path, run: Path) -> None:
    image, raw = "scenes/rgb/test0.png", "scenes/sonar/test0.sonar"
    made = armseg(None, "predict", image, raw, "--model", run, cwd=data)
    assert made.returncode == 2
    assert "trained with the sensor 'sonar', which is not installed here" in made.stderr
    assert "pip install armseg-toy" in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1


def test_doctor_lists_the_plugin(site: Path, data: Path) -> None:
    shown = armseg(site, "doctor", "--json", cwd=data)
    checks = {check["name"]: check for check in json.loads(shown.stdout)["checks"]}
    assert checks["sensor sonar"]["status"] == "ok"
    assert checks["sensor sonar"]["detail"] == "armseg-toy 1.2: loads"


def test_a_broken_plugin_breaks_nothing_else(data: Path, tmp_path: Path) -> None:
    site = install(tmp_path, ("MAGIC = b", "import no_such_module\n\nMAGIC = b"))
    shown = armseg(site, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    made = armseg(site, "convert", data / "scenes/depth/test0.png", "-o", "made.h5", cwd=tmp_path)
    assert made.returncode == 0
    warned = [line for line in made.stderr.splitlines() if "plug-in" in line]
    assert len(warned) == 1
    assert warned[0].startswith("warning: the sensor plug-in 'sonar' of armseg-toy 1.2 is left out: ")
    assert "No module named 'no_such_module'" in warned[0]
