"""A file in the way is replaced only where armseg made it and nobody changed it since, or with --force."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
import pytest
import raw_files
from one_line import assert_refused
from PIL import Image
from run_folders import write_run
from small_models import SMALL, write_clip
from toy_scenes import write_scenes

from armseg_core.files.ownership import is_sealed
from armseg_core.learning.run_folder import RunFolder

FOREIGN = b"the work of years\n"
RUN = "runs/train-001"
SIMULATE = ("simulate", "sim", "--size", "32x32", "--modalities", "depth", "--workers", "1", "--quiet")


@dataclass(frozen=True)
class Situation:
    """arguments: the command. file: the result that something is in the way of. again: options that make the
    command write it anew where it would leave a current one alone."""

    arguments: tuple[str, ...]
    file: str
    again: tuple[str, ...] = ()


PREDICT = ("predict", "rgb.png", "depth.png", "--set", "depth_unit=mm")
SITUATIONS = {
    "convert, default name": Situation(("convert", "depth.png"), "depth.metric.h5", ("--depth-unit", "cm")),
    "convert, named file": Situation(("convert", "depth.png", "-o", "B.h5"), "B.h5", ("--dtype", "float16")),
    "convert a folder, a result": Situation(
        ("convert", "raw", "-o", "out", "--workers", "1"), "out/depth.metric.h5", ("--depth-unit", "cm")
    ),
    "predict, mask in the default folder": Situation(PREDICT, "predictions/rgb.mask.png"),
    "predict, mask": Situation((*PREDICT, "-o", "out"), "out/rgb.mask.png"),
    "predict, colors": Situation((*PREDICT, "-o", "out"), "out/rgb.color.png"),
    "predict, overlay": Situation((*PREDICT, "-o", "out"), "out/rgb.overlay.png"),
    "visualize, default name": Situation(("visualize", "depth.png"), "depth.view.png"),
    "visualize, named file": Situation(("visualize", "depth.png", "-o", "B.png"), "B.png"),
    "visualize, folder": Situation(("visualize", "depth.png", "-o", "raw"), "raw/depth.view.png"),
    "visualize, a run": Situation(("visualize", RUN), f"{RUN}/plots/overview.png"),
    "eval, report": Situation(("eval", "--model", RUN), f"{RUN}/metrics/eval_test.json"),
    "simulate, a file of a scene": Situation(
        (*SIMULATE, "--scenes", "2"), "sim/scene_00001/rgb.png", ("--seed", "1")
    ),
    "simulate, description": Situation((*SIMULATE, "--scenes", "2"), "sim/dataset.toml"),
    "simulate, list of a split": Situation(
        (*SIMULATE, "--scenes", "2"), "sim/splits/train.txt", ("--scenes", "3")
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, the data of the run and recordings."""
    folder = tmp_path_factory.mktemp("template")
    clip = write_clip(folder / "clip", layers=2)
    write_scenes(folder / "data", {"train": 1, "test": 1})
    run = RunFolder(write_run(folder, clip, folder / "data"))
    for step in (1, 2):
        run.record({"step": step, "epoch": 0, "loss": 1 / step, "lr": 1e-3})
    for kind in ("rgb", "depth"):
        shutil.copy(folder / "data" / kind / "train0.png", folder / f"{kind}.png")
    (folder / "raw").mkdir()
    shutil.copy(folder / "depth.png", folder / "raw")
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "place")


@pytest.fixture
def run(armseg, place: Path) -> Callable[..., Any]:
    return lambda *arguments: armseg(*arguments, cwd=place)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit(path: Path) -> None:
    """Change a file as a user would."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file["frames"][0, 0, 0, 0] = 3
    elif path.suffix == ".png":
        picture = Image.open(path)
        picture.load()
        picture.putpixel((3, 4), 0 if picture.mode == "P" else (1, 2, 3))
        picture.save(path)
    else:
        path.write_text(path.read_text().replace("a", "A", 1) + "\n")


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_file_of_the_user_stays(name: str, run, place: Path) -> None:
    situation = SITUATIONS[name]
    file = place / situation.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(FOREIGN)
    before = files(place)
    assert_refused(
        run(*situation.arguments), situation.file, "is in the way", "not made by armseg", "--force"
    )
    assert files(place) == before
    done = run(*situation.arguments, "--force")
    assert done.exit_code == 0, done.output
    assert file.read_bytes() != FOREIGN


@pytest.mark.parametrize("name", SITUATIONS)
def test_an_own_file_is_replaced_until_it_is_changed(name: str, run, place: Path) -> None:
    situation = SITUATIONS[name]
    file = place / situation.file
    for arguments in (situation.arguments, (*situation.arguments, *situation.again)):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    made = file.read_bytes()
    edit(file)
    before = files(place)
    assert before[situation.file] != made
    refused = run(*situation.arguments)
    if name == "convert a folder, a result":  # the other recordings are converted: exit code 1
        assert refused.exit_code == 1
        assert "is in the way" in refused.stderr
        assert file.read_bytes() == before[situation.file]
    else:
        assert_refused(refused, situation.file, "changed since", "--force")
        assert files(place) == before


def test_a_manifest_of_others_stays(run, place: Path) -> None:
    manifest = place / "raw" / "manifest.jsonl"
    for text in ("mine\n", '{"mine": 1}', '{"mine": 1}\n{"input": "a", "st'):
        manifest.write_text(text)
        assert_refused(run("convert", "raw", "--workers", "1"), "manifest.jsonl", "is in the way", "--force")
        assert manifest.read_text() == text
    assert run("convert", "raw", "--workers", "1", "--force").exit_code == 0
    manifest.write_text(manifest.read_text() + '{"input": "torn by a cra')
    assert run("convert", "raw", "--workers", "1").exit_code == 0


def test_a_file_of_the_user_among_those_of_a_scene_stays_even_with_force(run, place: Path) -> None:
    assert run(*SIMULATE, "--scenes", "1").exit_code == 0
    notes = place / "sim" / "scene_00000" / "more" / "notes.txt"
    notes.parent.mkdir()
    notes.write_bytes(FOREIGN)
    (place / "sim" / "scene_00000" / "link").symlink_to(place / "raw")
    again = (*SIMULATE, "--scenes", "1", "--seed", "1")
    before = files(place)
    assert_refused(run(*again), "scene_00000/link", "is in the way")
    (place / "sim" / "scene_00000" / "link").rename(place / "sim" / "scene_00000" / "z_link")
    before = files(place)
    assert_refused(run(*again), "scene_00000/more/notes.txt", "is in the way")
    assert files(place) == before
    assert run(*again, "--force").exit_code == 0
    assert notes.read_bytes() == FOREIGN
    assert (place / "sim" / "scene_00000" / "z_link").is_symlink()
    assert files(place)["sim/scene_00000/rgb.png"] != before["sim/scene_00000/rgb.png"]


def test_a_scene_without_the_record_of_its_files_is_the_users(run, place: Path) -> None:
    """As armseg 0.1.0 wrote them."""
    assert run(*SIMULATE, "--scenes", "1").exit_code == 0
    record = place / "sim" / "scene_00000" / "scene.json"
    record.write_text(record.read_text().replace("armseg-sha256", "was"))
    assert run(*SIMULATE, "--scenes", "1").exit_code == 0  # the same parameters: kept
    assert_refused(run(*SIMULATE, "--scenes", "1", "--seed", "1"), "scene_00000/", "is in the way")


def test_images_of_one_name_do_not_replace_each_other(run, place: Path) -> None:
    folders = [place / "a" / "left", place / "b" / "left", place / "b" / "right"]
    for number, folder in enumerate(folders):
        raw_files.rgb(folder / "rgb.png", seed=number)
    expected = ["rgb", "left_rgb", "right_rgb"]
    for _ in range(2):  # the second time finds its own
        for folder in folders:
            assert run("predict", folder / "rgb.png").exit_code == 0
        made = {path.name for path in (place / "predictions").glob("*.mask.png")}
        assert made == {f"{stem}.mask.png" for stem in expected}
    raw_files.rgb(place / "c" / "left" / "rgb.png", seed=5)
    assert run("predict", "c/left/rgb.png").exit_code == 0
    assert (place / "predictions" / "c_left_rgb.mask.png").is_file()


def test_predict_looks_before_it_loads_the_model(run, place: Path) -> None:
    (place / "predictions").mkdir()
    (place / "predictions" / "rgb.color.png").write_bytes(FOREIGN)
    (place / RUN / "best" / "armseg.json").write_text("{ not json")
    assert_refused(run("predict", "rgb.png"), "rgb.color.png", "is in the way")


def test_a_tensor_file_of_0_1_0_of_the_same_recording_is_armsegs(run, place: Path) -> None:
    """Such files had no seal; their attributes say what they were made of."""
    assert run("convert", "depth.png", "-o", "x.h5").exit_code == 0
    with h5py.File(place / "x.h5", "r+") as file:  # cuts off the seal, too
        del file.attrs["sealed"]
    assert not is_sealed(place / "x.h5")
    shutil.copy(place / "depth.png", place / "other_depth.png")
    assert_refused(run("convert", "other_depth.png", "-o", "x.h5"), "x.h5", "is in the way")
    done = run("convert", "depth.png", "-o", "x.h5", "--depth-unit", "cm")
    assert done.exit_code == 0, done.output
    assert is_sealed(place / "x.h5")


def test_an_empty_file_and_a_link_to_nothing(run, place: Path) -> None:
    (place / "empty.png").write_bytes(b"")
    assert run("visualize", "depth.png", "-o", "empty.png").exit_code == 0
    (place / "link.png").symlink_to(place / "unmounted.png")
    assert_refused(run("visualize", "depth.png", "-o", "link.png"), "link.png", "is in the way")
    assert (place / "link.png").is_symlink()
    (place / "folder.h5").mkdir()
    (place / "folder.h5" / "depth.metric.h5").mkdir()
    assert_refused(run("convert", "depth.png", "-o", "folder.h5", "--force"), "a folder of that name")


def test_a_run_that_goes_on_keeps_what_the_user_put_there(run, place: Path) -> None:
    clip = ("--guide", "clip/clip.json", "--guide-weights", "clip/clip.safetensors")
    small = tuple(part for key, value in SMALL.items() for part in ("--set", f"model.{key}={value}"))
    fast = ("--modalities", "depth", "--batch-size", "2", "--crop", "48x32", "--set", "warmup=1")
    done = run("train", "data", *clip, *small, *fast, "--steps", "1", "--name", "mine")
    assert done.exit_code == 0, done.output
    folder = place / "runs" / "mine-001"
    again = ("train", "--resume", folder)
    assert run(*again).exit_code == 0
    curves = folder / "plots" / "curves.png"
    edit(curves)
    before = files(place)
    assert_refused(run(*again), "curves.png", "is in the way", "--force")
    assert files(place) == before
    done = run(*again, "--force")
    assert done.exit_code == 0, done.output
    assert is_sealed(curves)


def test_saving_a_model_keeps_files_of_others(template: Path, tmp_path: Path) -> None:
    from armseg_core.learning.model_folder import load, save

    model, folder = load(template / RUN / "best"), tmp_path / "best"
    save(model, folder)
    (folder / "adapters" / "notes.txt").write_bytes(FOREIGN)
    (folder / "notes.txt").write_bytes(FOREIGN)
    model.metrics = {"step": 7}
    save(model, folder)
    assert (folder / "notes.txt").read_bytes() == (folder / "adapters" / "notes.txt").read_bytes() == FOREIGN
    assert '"step": 7' in (folder / "README.md").read_text()
    edit(folder / "README.md")
    mine = (folder / "README.md").read_bytes()
    save(model, folder)
    assert (folder / "README.md").read_bytes() == mine


@pytest.mark.parametrize(
    "name",
    [
        "overview.png",
        "evaluation.json",
        "sensors/depth.png",
        "predictions/rgb.mask.png",
        "converted/event.h5",
    ],
)
def test_demo_does_not_replace_files_of_the_user(run, place: Path, name: str) -> None:
    file = place / "demo_out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(FOREIGN)
    refused = run("demo", "--json")  # what stage begins is said on stderr
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert f"{name}: is in the way" in refused.stderr.splitlines()[-1]
    assert file.read_bytes() == FOREIGN
    assert not (place / "demo_out" / "runs").exists()


def test_a_large_tensor_file_is_proved_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armseg_core.files import ownership

    monkeypatch.setattr(ownership, "_WHOLE", 1 << 10)
    monkeypatch.setattr(ownership, "_SAMPLE", 16)
    path = tmp_path / "x.h5"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    ownership.seal_end(path)
    assert is_sealed(path)
    for place in (0, 4990):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        (tmp_path / "y.h5").write_bytes(data)
        assert not is_sealed(tmp_path / "y.h5")
    path.write_bytes(path.read_bytes()[1:])
    assert not is_sealed(path)


def test_a_sealed_picture_is_a_whole_png(tmp_path: Path) -> None:
    from armseg_core.files.ownership import note_of
    from armseg_core.files.pictures import save_png

    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    save_png(tmp_path / "x.png", picture, "a note")
    assert (cv2.imread(str(tmp_path / "x.png"))[..., ::-1] == picture).all()
    with Image.open(tmp_path / "x.png") as image:
        image.verify()  # every CRC
    with Image.open(tmp_path / "x.png") as image:
        assert image.text["armseg"].startswith("a note armseg-sha256:")
    assert note_of(tmp_path / "x.png") == "a note"
