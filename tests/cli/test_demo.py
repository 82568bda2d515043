"""The demonstration makes what it says, from raw files to pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.sensors.modalities import SENSORS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A demonstration with two training steps: (output folder, what --json printed)."""
    from typer.testing import CliRunner

    from armseg_cli.main import app

    folder = tmp_path_factory.mktemp("demo") / "out"
    result = CliRunner().invoke(app, ["demo", "-o", str(folder), "--steps", "2", "--json"])
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


def test_every_stage_ran(made) -> None:
    assert list(made[1]["seconds"]) == ["convert", "train", "eval", "predict", "visualize"]


def test_the_table_has_rgb_alone_and_every_sensor(made) -> None:
    rows = [row["inputs"] for row in made[1]["evaluation"]["rows"]]
    assert rows[0] == "rgb"
    assert set(rows[1:-1]) == {f"rgb+{name}" for name in SENSORS}
    assert set(rows[-1].split("+")) == {"rgb", *SENSORS}  # all of them together
    saved = json.loads((made[0] / "evaluation.json").read_text())
    assert {name: value for name, value in saved.items() if name != "seal"} == made[1]["evaluation"]


def test_files_and_pictures_are_where_it_says(made) -> None:
    folder, said = made
    assert Path(said["pictures"][0]) == folder / "overview.png"
    assert [path for path in said["pictures"] if not Path(path).is_file()] == []
    assert {path.stem for path in (folder / "sensors").iterdir()} == set(SENSORS)
    assert all(is_tensor_file(folder / "converted" / f"{name}.h5") for name in SENSORS)
    assert len(list((folder / "predictions").glob("*.mask.png"))) == 2 + len(SENSORS)
    assert (Path(said["run"]) / "best" / "armseg.json").is_file()


def test_the_table_is_printed(made, capsys: pytest.CaptureFixture[str]) -> None:
    from armseg_cli.demo import show
    from armseg_core.demo import DemoResult
    from armseg_core.learning.evaluation import Report, Row
    from armseg_core.learning.inputs import RGB_ONLY, Inputs
    from armseg_core.learning.metrics import ConfusionMatrix

    def row(inputs: Inputs, right: int, wrong: int) -> Row:
        matrix = ConfusionMatrix(2)
        matrix.update([0] * right + [1] * wrong, [0] * (right + wrong))
        return Row("x", inputs, 3, matrix)

    report = Report([row(RGB_ONLY, 1, 3), row(Inputs(sensors=("depth",)), 3, 1)], {"x": ("a", "b")}, "test")
    show(DemoResult(Path("d"), Path("r"), report, [Path("o/overview.png")], {"train": 2.0}), Path("o"))
    said = capsys.readouterr().out
    gain = 100 * (report.rows[1].matrix.miou - report.rows[0].matrix.miou)
    assert f"{gain:+.1f}" in said
    assert "o/overview.png" in said


def test_another_demonstration_may_replace_every_file(made) -> None:
    from armseg_core.data import open_dataset
    from armseg_core.demo import result_files
    from armseg_core.files.ownership import is_sealed

    files = result_files(open_dataset(made[1]["data"], "test", SENSORS), made[0])
    assert len(files) > 20
    assert [path for path in files if not is_sealed(path)] == []
    at_hand = {path for path in made[0].rglob("*") if path.is_file() and "runs" not in path.parts}
    assert at_hand - set(files) == set((made[0] / "converted").iterdir())
