"""`armseg check`: each planted problem is found, named, counted and told apart from the others."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conversions import note_conversions, zeros_but_one
from dataset_writer import (
    CLASSES,
    label_of,
    write_folder_dataset,
    write_label,
    write_rgb,
    write_tensor,
)

from armseg_core.data.check_report import KINDS, Report
from armseg_core.data.checking import check_dataset as check
from armseg_core.data.folder import ids_on_disk
from armseg_core.errors import DataSetError, FormatError, InputError

SIZE = (24, 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder_dataset(tmp_path / "data")


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "dataset.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def only(report: Report, kind: str):
    """The one problem of that kind; nothing else may have been found."""
    assert [problem.kind for problem in report.problems] == [kind], report.problems
    return report.problems[0]


@pytest.mark.parametrize("layout", ["scene", "kind"])
def test_a_sound_data_set_has_no_problem(tmp_path: Path, layout: str) -> None:
    report = check(write_folder_dataset(tmp_path, layout=layout))
    assert report.problems == ()
    assert report.ok
    assert report.splits == {"train": 4, "val": 2, "test": 2}
    assert report.sensors["val"] == {"depth": 2, "event": 2}


def test_the_histogram_is_that_of_the_labels(folder: Path) -> None:
    labels = np.stack([label_of(n, SIZE) for n in range(4)])
    shares = check(folder).labels["train"]
    assert shares["pixels"] == labels.size
    for index, (name, _) in enumerate(CLASSES):
        assert shares["classes"][name] == pytest.approx((labels == index).mean())
    assert shares["ignored"] == pytest.approx((labels == 255).mean())
    assert shares["unknown"] == pytest.approx(0)


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def test_missing_files_are_told_apart(folder: Path) -> None:
    remove(folder, "0000/rgb.png", "0001/label.png", "0002/label.png", "0006/label.png", "0003/event.h5")
    found = {problem.kind: problem for problem in check(folder).problems}
    assert set(found) == {
        "missing_rgb",
        "missing_label",
        "withheld_label",
        "missing_sensor",
        "label_without_rgb",
    }
    assert found["missing_rgb"].examples == ("0000/rgb.png",)
    assert (found["missing_label"].count, found["missing_label"].error) == (2, True)
    assert found["missing_label"].examples == ("0001/label.png", "0002/label.png")
    assert not found["withheld_label"].error  # the test split's labels may be withheld
    assert not found["missing_sensor"].error
    assert "without event" in found["missing_sensor"].what


def test_a_listed_id_without_any_file(folder: Path) -> None:
    with (folder / "splits/val.txt").open("a") as file:
        file.write("9999\n")
    problem = only(check(folder), "absent")
    assert (problem.error, problem.count, problem.examples) == (True, 1, ("9999",))


def test_images_in_no_split_and_labels_without_image(folder: Path) -> None:
    (folder / "splits/test.txt").write_text("0006\n")
    write_label(folder / "extra/label.png", label_of(0, SIZE))
    report = check(folder)
    assert [(problem.kind, problem.examples) for problem in report.problems] == [
        ("unlisted", ("0007/rgb.png",)),
        ("label_without_rgb", ("extra/label.png",)),
    ]
    assert report.ok  # warnings do not fail


def test_no_file_at_all_of_a_sensor_is_an_error(folder: Path) -> None:
    for path in folder.glob("*/event.h5"):
        path.unlink()
    kinds = {problem.kind: problem for problem in check(folder).problems}
    assert set(kinds) == {"missing_sensor", "no_sensor"}
    assert kinds["no_sensor"].error


def test_sizes_must_match(folder: Path) -> None:
    for name in ("0001", "0004"):
        write_label(folder / name / "label.png", label_of(0, (24, 31)))
    problem = only(check(folder), "size")
    assert (problem.count, problem.examples) == (2, ("0001/label.png", "0004/label.png"))


def test_mixed_bit_depth_names_the_odd_ones(folder: Path) -> None:
    write_rgb(folder / "0002/rgb.png", np.full((*SIZE, 3), 40_000, np.uint16))
    problem = only(check(folder), "format")
    assert problem.what == "RGB images of 16 bit, where most are 8 bit"
    assert problem.examples == ("0002/rgb.png",)
    assert not problem.error


def test_mixed_bit_depth_of_sensor_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder_dataset(tmp_path, modalities=("thermal",))
    edit(folder, "{id}/thermal.h5", "{id}/thermal.png")
    for number in range(8):
        write_rgb(folder / f"{number:04d}/thermal.png", np.zeros((12, 16 if number else 20, 3), np.uint8))
    cv2.imwrite(str(folder / "0003/thermal.png"), np.zeros((12, 16), np.uint16))

    note_conversions(monkeypatch, zeros_but_one)
    report = check(folder)
    assert {(problem.what, problem.examples) for problem in report.problems} == {
        ("thermal pictures of another aspect ratio than the RGB image", ("0000/thermal.png",)),
        ("thermal pictures of 16 bit, 1 channel, where most are 8 bit, 3 channels", ("0003/thermal.png",)),
    }
    assert report.ok


def test_unreadable_files(folder: Path) -> None:
    (folder / "0000/rgb.png").write_bytes((folder / "0000/rgb.png").read_bytes()[:200])
    (folder / "0001/label.png").write_bytes(b"not an image")
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[0, 0] = 1, 2, 3
    write_rgb(folder / "0002/label.png", colors)
    (folder / "0003/event.h5").write_bytes(b"\x89HDF\r\n")
    found = {(problem.kind, problem.examples) for problem in check(folder).problems}
    assert found == {
        ("unreadable_rgb", ("0000/rgb.png",)),
        ("unreadable_label", ("0001/label.png",)),
        ("unreadable_label", ("0002/label.png",)),
        ("unreadable_sensor", ("0003/event.h5",)),
    }
    assert "unreadable_sensor" not in {problem.kind for problem in check(folder, sensors=False).problems}


def test_label_values_outside_the_class_list(folder: Path) -> None:
    for name, value in (("0000", 7), ("0001", 7), ("0004", 9)):
        label = label_of(0, SIZE)
        label[1, 1] = value
        write_label(folder / name / "label.png", label)
    report = check(folder)
    assert [(p.kind, p.count) for p in report.problems] == [("label_value", 2), ("label_value", 1)]
    assert "label value 7 names no class (0 to 2, 255 = ignore)" in report.problems[0].what
    assert "7 = 255" in report.problems[0].hint
    assert report.labels["train"]["unknown"] == pytest.approx(2 / (4 * 24 * 32))
    assert not report.ok


def test_labels_that_count_from_one(folder: Path) -> None:
    for number in range(8):
        label = label_of(number, SIZE)
        write_label(folder / f"{number:04d}/label.png", np.where(label == 255, 0, label + 1).astype(np.uint8))
    (problem,) = check(folder).errors
    assert (problem.kind, problem.count) == ("label_value", 8)
    assert "count from 1" in problem.hint


def test_many_unknown_values_become_one_line(folder: Path) -> None:
    write_label(folder / "0000/label.png", np.arange(24 * 32, dtype=np.uint8).reshape(SIZE))
    (problem,) = check(folder).errors
    assert problem.what.startswith("252 label values, 3 to 254, name no class")
    assert problem.examples == ("0000/label.png",)


def test_the_0_255_trap(folder: Path) -> None:
    for number in range(8):
        label = np.where(label_of(number, SIZE) == 1, 255, 0).astype(np.uint8)
        write_label(folder / f"{number:04d}/label.png", label)
    (problem,) = check(folder).errors
    assert problem.kind == "trap_0_255"
    assert "class 1 ('car') never occurs" in problem.what
    edit(folder, "[label]\n", "[label]\n" + problem.hint.split(" under ")[0] + "\n")  # the advice helps
    fixed = check(folder)
    assert fixed.ok
    assert fixed.labels["train"]["classes"]["car"] == pytest.approx(1 / 3, abs=0.01)


def test_empty_classes_and_labels_that_are_all_ignored(folder: Path) -> None:
    for name in ("0004", "0005"):
        label = label_of(0, SIZE)
        label[label == 2] = 255
        write_label(folder / name / "label.png", label)
    write_label(folder / "0000/label.png", np.full(SIZE, 255, np.uint8))
    found = {problem.kind: problem for problem in check(folder).problems}
    assert set(found) == {"all_ignored", "empty_class"}
    assert found["empty_class"].what.endswith("split 'val'")
    assert found["empty_class"].examples == ("person",)
    assert found["all_ignored"].examples == ("0000/label.png",)


def test_an_id_in_two_splits_is_a_leak_and_twice_in_one_is_noted(folder: Path) -> None:
    (folder / "splits/val.txt").write_text("0004\n0005\n0001\n0004\n")
    found = {(problem.kind, problem.what): problem for problem in check(folder).problems}
    leak = found["leak", "ids in both 'train' and 'val': the score would be wrong"]
    assert (leak.error, leak.examples) == (True, ("0001",))
    assert found["id_twice", "ids given more than once in split 'val'"].examples == ("0004",)
    assert len(found) == 2


def test_the_same_picture_under_another_name_is_a_leak(folder: Path) -> None:
    (folder / "0005/rgb.png").write_bytes((folder / "0001/rgb.png").read_bytes())
    problem = only(check(folder), "leak")
    assert problem.what == "the same picture in 'train' and 'val'"
    assert problem.examples == ("0005/rgb.png",)


def test_sensor_frames_are_looked_at(folder: Path) -> None:
    bad = np.ones((3, *SIZE), np.float32)
    write_tensor(folder / "0000/depth.h5", "depth", bad)
    bad[0, 0, 0] = np.nan
    write_tensor(folder / "0001/depth.h5", "depth", bad)
    found = {problem.kind: problem for problem in check(folder).problems}
    assert {kind: problem.examples for kind, problem in found.items()} == {
        "empty_sensor": ("0000/depth.h5",),
        "unreadable_sensor": ("0001/depth.h5",),
    }
    assert "not finite: 1 of depth" in found["unreadable_sensor"].what


def test_every_problem_of_dataset_toml_is_listed_and_the_files_are_checked_all_the_same(folder: Path) -> None:
    edit(folder, "ignore_index", "ignore_indx")
    edit(folder, "color = [0, 0, 142]", "colour = [0, 0, 142]")
    remove(folder, "0000/rgb.png")
    kinds = [problem.kind for problem in check(folder).problems]
    assert sorted(kinds) == ["dataset_file", "dataset_file", "label_without_rgb", "missing_rgb"]


def test_a_dataset_toml_that_cannot_be_used_ends_the_check_with_all_its_problems(folder: Path) -> None:
    edit(folder, "format_version = 1\n", "")
    edit(folder, "color = [0, 0, 142]", "color = [0, 0]")
    report = check(folder)
    named = [problem.what.split("'")[1] for problem in report.problems]
    assert named == ["format_version", "classes.1.color.2"]
    (folder / "dataset.toml").write_text("[[[")
    assert only(check(folder), "dataset_file").what.startswith("not valid TOML")


def test_split_files(folder: Path) -> None:
    remove(folder, "splits/val.txt")
    (folder / "splits/test.txt").write_text("\n")
    report = check(folder)
    assert [problem.kind for problem in report.errors] == ["split", "split"]
    assert {problem.kind for problem in report.warnings} == {"unlisted"}
    assert report.splits == {"train": 4}


def test_classes(folder: Path) -> None:
    edit(folder, "color = [0, 0, 142]", "color = [128, 64, 128]")
    edit(folder, "ignore_index = 255", "ignore_index = 2")
    kinds = {problem.kind: problem for problem in check(folder).problems}
    assert {"same_color", "ignore_is_class", "label_value"} <= set(kinds)
    assert "ground, car" in kinds["same_color"].what
    assert "'person'" in kinds["ignore_is_class"].what


def test_same_colors_are_an_error_for_painted_labels(tmp_path: Path) -> None:
    folder = write_folder_dataset(tmp_path, label_extra='encoding = "color"')
    edit(folder, "color = [0, 0, 142]", "color = [128, 64, 128]")
    assert "label_colors" in {problem.kind for problem in check(folder).errors}


def test_notes_of_a_reader_are_warnings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from armseg_core.errors import ArmsegWarning

    def noisy(**call):
        warnings.warn(ArmsegWarning("3 events outside the sensor dropped"), stacklevel=1)
        return zeros_but_one(**call)

    note_conversions(monkeypatch, noisy)
    report = check(folder)
    assert report.ok
    assert {problem.what for problem in report.problems} == {
        "event: notes of the reader",
        "depth: notes of the reader",
    }
    assert report.problems[0].examples[0] == "0000: 3 events outside the sensor dropped"


def test_a_converter_that_refuses_everything_is_one_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*, path, **_):
        raise FormatError("not a recording", where=path, hint="armseg inspect")

    note_conversions(monkeypatch, refuse)
    report = check(folder)
    assert [(problem.what, problem.count) for problem in report.problems] == [
        ("depth: not a recording", 8),
        ("event: not a recording", 8),
    ]
    assert len(report.problems[0].examples) == 5


def test_progress_counts_samples(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    check(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 8) for n in range(1, 9)]


def test_what_is_no_data_set_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="not a data set"):
        check(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        check(tmp_path / "absent")


def test_public_layouts_are_checked_too(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        write_rgb(tmp_path / f"{split}/rgb/a.png", np.full((*SIZE, 3), number, np.uint8))
        label = np.zeros(SIZE, np.uint8)
        label[:9] = 5 if split == "test" else 4
        write_label(tmp_path / f"{split}/labels/a.png", label)
        write_label(tmp_path / f"{split}/thermal/a.png", np.zeros(SIZE, np.uint8))
    report = check(tmp_path, sensors=False)
    assert report.name == "PST900"
    assert [problem.kind for problem in report.errors] == ["label_value"]
    assert report.sensors == {"train": {"thermal": 1}, "test": {"thermal": 1}}


@pytest.mark.parametrize(
    ("template", "files", "ids"),
    [
        ("rgb/{id}.png", ("rgb/1.png", "rgb/a/2.png", "rgb/3.jpg", "x/rgb/4.png"), {"1", "a/2"}),
        ("{id}/rgb.png", ("1/rgb.png", "a/2/rgb.png", "rgb.png", "1/x.png"), {"1", "a/2"}),
        ("{parent}/rgb/{stem}.png", ("a/rgb/1.png", "a/b/rgb/2.png", "rgb/3.png"), {"a/1", "a/b/2"}),
        ("{id}/{stem}_rgb.png", ("a/1/1_rgb.png", "a/2/9_rgb.png"), {"a/1"}),
    ],
)
def test_ids_are_found_from_files(tmp_path: Path, template: str, files: tuple, ids: set[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ids_on_disk(tmp_path, template) == ids


def test_every_kind_of_problem_has_advice() -> None:
    for kind in KINDS.values():
        assert kind.hint[0].islower()
        assert kind.then[0].islower()


# -- the command


def test_the_command_prints_a_table_and_the_next_command(folder: Path, armseg) -> None:
    result = armseg("check", folder)
    assert result.exit_code == 0, result.stderr
    assert "No problems found." in result.stdout
    assert f"Next: armseg train {folder}" in result.stdout
    for word in ("train", "samples", "depth", "event", "person", "33.", "(ignored)"):
        assert word in result.stdout


def test_the_command_exits_2_on_errors_and_0_on_warnings(folder: Path, armseg) -> None:
    remove(folder, "0003/event.h5")
    result = armseg("check", folder, "--fast")
    assert result.exit_code == 0
    assert "0 kinds of error, 1 of warning." in result.stdout
    remove(folder, "0001/label.png")
    result = armseg("check", folder, "--fast")
    assert result.exit_code == 2
    assert "1 kind of error, 1 of warning." in result.stdout
    assert "0001/label.png" in result.stdout
    assert "after correcting the errors" in result.stdout


def test_the_command_as_json(folder: Path, armseg) -> None:
    remove(folder, "0001/label.png")
    result = armseg("check", folder, "--fast", "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["problems"][0]["kind"] == "missing_label"
    assert report["problems"][0]["examples"] == ["0001/label.png"]


def test_the_command_on_what_is_no_data_set(tmp_path: Path, armseg) -> None:
    result = armseg("check", tmp_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "not a data set" in result.stderr
    assert "dataset.toml" in result.stderr
