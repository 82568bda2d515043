"""`armseg visualize`: every kind of path becomes one PNG, and what cannot be shown is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_writer import CLASSES, write_folder_dataset
from PIL import Image

from armseg_core.errors import DataSetError, FormatError, InputError, UsageError
from armseg_core.figures import make_figure, visualize
from armseg_core.files.pictures import save_indexed_png, save_png
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.learning.metrics import ConfusionMatrix
from armseg_core.sensors.modalities import MODALITIES
from armseg_core.visualization import distinct_palette, label_to_color


def has_color(picture: np.ndarray, color: object) -> bool:
    return bool((picture == np.asarray(color, np.uint8)).all(-1).any())


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.fixture
def event_file(tmp_path: Path) -> Path:
    """Three frames: one red pixel, one blue, none."""
    frames = np.zeros((3, 5, 12, 16), np.float16)
    frames[0, 1, 3, 4], frames[1, 2, 5, 6] = 1, -1
    row = MODALITIES["event"]
    info = TensorInfo("event", "voxel_grid", row.channels, ("",) * 5, row.value_range)
    path = tmp_path / "night.h5"
    SensorTensor(frames, np.array([50_000, 100_000, 150_000]), info).save(path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "train-001"
    (folder / "metrics").mkdir(parents=True)
    rows = [{"step": i, "loss": 1 / (i + 1), "lr": 1e-3, "images_per_s": 9.0} for i in range(30)]
    rows += [{"step": 29, "miou": 0.5, "miou_rgb_only": 0.4}]
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 30, "lo')
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([[0, 1, 1]]), np.array([[0, 1, 0]]))
    (folder / "metrics" / "confusion.json").write_text(json.dumps(confusion.to_dict(["ground", "sky"])))
    return folder


def test_tensor_file_shows_the_frame_that_is_asked_for(event_file: Path, tmp_path: Path) -> None:
    pages = {n: make_figure(event_file, frame=n) for n in (0, 1, 2, -1)}
    strong = [(214, 24, 31), (26, 78, 196)]
    # the color bars hold both colors once a column; the event itself is a large square of one of them
    count = [[int((pages[n].picture == c).all(-1).sum()) for c in strong] for n in (0, 1, 2)]
    assert count[0][0] > count[2][0]
    assert count[0][1] == count[2][1]
    assert count[1][1] > count[2][1]
    assert (pages[2].picture == pages[-1].picture).all()
    assert "frame 1 (of 0 to 2)" in make_figure(event_file).what
    with pytest.raises(UsageError, match=r"no frame 3.*0 to 2"):
        make_figure(event_file, frame=3)


def test_command_writes_one_file_and_says_what_comes_next(armseg, event_file: Path, tmp_path: Path) -> None:
    done = armseg("visualize", event_file, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "night.view.png" in done.stdout
    assert "event camera, voxel grid, frame 1 (of 0 to 2)" in done.stdout
    assert "Next: armseg " in done.stdout
    assert read(tmp_path / "night.view.png").shape[1] >= 480
    done = armseg("visualize", event_file, "-o", tmp_path / "a" / "b.png", "--frame", "0")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "a" / "b.png").is_file()
    (tmp_path / "pictures").mkdir()
    visualize(event_file, tmp_path / "pictures")
    assert (tmp_path / "pictures" / "night.view.png").is_file()


def test_run_folder_becomes_an_overview_in_the_run(run: Path) -> None:
    made = visualize(run)
    assert made.output == run / "plots" / "overview.png"
    page = read(made.output)
    assert has_color(page, (33, 113, 181))  # a curve
    assert made.what == "run train-001: training curves and confusion matrix"
    (run / "best").mkdir()
    (run / "best" / "armseg.json").write_text("{}")
    for path in (run / "best", run / "metrics.jsonl"):
        assert (make_figure(path).picture == page).all()


def test_report_of_an_evaluation_shows_its_rows(run: Path) -> None:
    one = json.loads((run / "metrics" / "confusion.json").read_text())
    single = make_figure(run).picture
    rows = [{"dataset": "sim", "inputs": inputs, **one} for inputs in ("rgb", "rgb+thermal")]
    (run / "metrics" / "confusion.json").write_text(json.dumps({"rows": rows}))
    assert make_figure(run).picture.shape[0] > single.shape[0] + 100
    (run / "metrics" / "confusion.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        make_figure(run)


def test_run_without_numbers_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no numbers yet"):
        make_figure(tmp_path)


def test_sample_of_a_data_set(armseg, tmp_path: Path) -> None:
    data = write_folder_dataset(tmp_path / "toy")
    first, third = make_figure(data), make_figure(data, sample="0004")
    assert first.what == "sample 0000 of split 'train'"
    assert third.what == "sample 0004 of split 'val'"
    for _, color in CLASSES:
        assert has_color(third.picture, color)
    assert not (make_figure(data, sample="0004", alpha=1.0).picture == third.picture).all()
    with pytest.raises(UsageError, match=r"no sample '9'.*0000, 0001, 0002"):
        make_figure(data, sample="9")
    done = armseg("visualize", data, "--sample", "0004", "--alpha", "0.3", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert read(tmp_path / "toy_0004.view.png").shape[1] > 480


def test_data_set_with_splits_of_other_names(tmp_path: Path) -> None:
    data = write_folder_dataset(tmp_path / "toy", splits={"night": 2}, modalities=())
    assert make_figure(data, sample="0001").what == "sample 0001 of split 'night'"


def test_an_empty_split_hides_nothing(tmp_path: Path) -> None:
    data = write_folder_dataset(tmp_path / "toy", modalities=())
    (data / "splits" / "train.txt").write_text("")
    assert make_figure(data, sample="0006").what == "sample 0006 of split 'test'"
    for split in ("val", "test"):
        (data / "splits" / f"{split}.txt").write_text("")
    with pytest.raises(DataSetError, match=r"'train'.*is empty"):
        make_figure(data)


def test_label_in_a_data_set_has_the_colors_and_names_of_its_classes(tmp_path: Path) -> None:
    data = write_folder_dataset(tmp_path / "toy", modalities=())
    made = make_figure(data / "0000" / "label.png")
    assert made.what == "label map, 3 classes"
    for _, color in CLASSES:
        assert has_color(made.picture, color)


def test_label_elsewhere_keeps_its_own_palette(tmp_path: Path) -> None:
    label, palette = np.array([[0, 2], [255, 2]], np.uint8), [(1, 2, 3), (4, 5, 6), (200, 100, 50)]
    save_indexed_png(tmp_path / "x.png", label, palette)
    page = make_figure(tmp_path / "x.png").picture
    for color in label_to_color(label, palette).reshape(-1, 3):
        assert has_color(page, color)
    Image.fromarray(label).save(tmp_path / "my_label.png")
    page = make_figure(tmp_path / "my_label.png").picture
    assert has_color(page, distinct_palette(3)[2])


def test_photo_is_shown_and_never_overwritten(armseg, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    save_png(tmp_path / "rgb.png", photo)
    before = (tmp_path / "rgb.png").read_bytes()
    done = armseg("visualize", "rgb.png", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "RGB picture" in done.stdout
    done = armseg("visualize", "rgb.png", "-o", "rgb.png")
    assert done.exit_code == 2
    assert "overwrite" in done.stderr
    assert (tmp_path / "rgb.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.h5",), "no such file or folder"),
        (("night.h5", "-o", "x.jpg"), "ends in .png"),
        (("night.h5", "--sample", "1"), "--sample does not apply to a sensor-tensor file"),
        (("night.h5", "--modality", "thermal"), "--modality does not apply"),
        (("night.h5", "--frame", "7"), "no frame 7"),
        (("night.h5", "--modality", "sonar"), "unknown modality 'sonar'"),
        (("runs/train-001", "--frame", "1"), "--frame does not apply to a run"),
        (("cut.h5",), "cut.h5"),
        (("text.txt",), "text.txt"),
        (("empty",), "empty"),
        (("cut.png",), "cut.png"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_no_file(
    armseg, event_file: Path, run: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "cut.h5").write_bytes(event_file.read_bytes()[:1000])
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    before = sorted(tmp_path.rglob("*"))
    done = armseg("visualize", *arguments, cwd=tmp_path)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
