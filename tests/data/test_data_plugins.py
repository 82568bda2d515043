"""Kinds of data set that other packages plug in: an installed one through every command, and all that can be
wrong with one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import armseg_boxes
import pytest
from installed_plugin import armseg, install, python
from small_models import SMALL, write_clip

from armseg_core.data import ClassInfo, DataSet, Description, describe, open_dataset, registry
from armseg_core.errors import ArmsegWarning, DataSetError, UsageError
from armseg_core.plugins import Plugin

# -- an installed package


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the toy plug-in."""
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return armseg_boxes.write(tmp_path_factory.mktemp("boxes") / "data", {"train": 4, "val": 2, "test": 2})


@pytest.mark.slow
def test_an_installed_format_is_checked_trained_and_evaluated(
    site: Path, boxes: Path, tmp_path: Path
) -> None:
    checked = armseg(site, "check", boxes, "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    report = json.loads(checked.stdout)
    assert (report["name"], report["splits"]) == ("boxes", {"train": 4, "val": 2, "test": 2})
    assert report["sensors"]["test"] == {"depth": 2}
    write_clip(tmp_path / "clip", layers=2)
    options = ["--guide", tmp_path / "clip/clip.json", "--guide-weights", tmp_path / "clip/clip.safetensors"]
    options += [part for key, value in SMALL.items() for part in ("--set", f"model.{key}={value}")]
    options += [
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--workers",
        "1",
        "--output",
        tmp_path / "runs",
        "--json",
    ]
    trained = armseg(site, "train", boxes, *options, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    made = json.loads(trained.stdout)
    assert made["validation"]["boxes"].keys() == {"rgb", "rgb+depth"}
    scored = armseg(site, "eval", boxes, "--model", made["run"], "--json", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    rows = json.loads(scored.stdout)["rows"]
    assert [(row["dataset"], row["inputs"], row["samples"]) for row in rows] == [
        ("boxes", "rgb", 2),
        ("boxes", "rgb+depth", 2),
    ]


def test_without_the_package_its_folder_is_no_data_set(site: Path, boxes: Path, tmp_path: Path) -> None:
    code = f"from armseg_core.data import open_dataset as o; print(o({str(boxes)!r}, 'val').load(1).id)"
    found = python(site, "-c", code, cwd=tmp_path)
    assert (found.stdout, found.stderr) == ("val1\n", "")
    missing = armseg(None, "check", boxes, cwd=tmp_path)
    assert missing.returncode == 2
    assert "not a data set" in missing.stderr


# -- plug-ins inside this process


class Marked(DataSet):
    """Any folder with a file named `marker`."""

    title, layout = "marked", "marker"
    name, classes, splits = "marked", (ClassInfo("thing", (1, 2, 3)),), ("train",)
    marker = "marker"

    @classmethod
    def matches(cls, root: Path) -> bool:
        return (root / cls.marker).is_file()

    def list_ids(self, split: str) -> list[str]:
        return ["only"]


class Other(Marked):
    title = "other"


class Greedy(Marked):
    title, marker = "greedy", "dataset.toml"


class Failing(Marked):
    title = "failing"

    @classmethod
    def matches(cls, root: Path) -> bool:
        raise KeyError("no\nsuch key")


class Nameless(Marked):
    title = None


class Taken(Marked):
    title = "MFNET"


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch):
    """As if the package armseg-toy 1.0 had an entry point toy0, toy1, ... for each of the values."""

    def install(*values: object) -> None:
        found = tuple(
            value if isinstance(value, Plugin) else Plugin("g", f"toy{i}", "armseg-toy", "1.0", value)
            for i, value in enumerate(values)
        )
        monkeypatch.setattr(
            "armseg_core.plugins.load_plugins", lambda group: found if group == registry.GROUP else ()
        )
        registry.kind_titles.cache_clear()

    yield install
    registry.kind_titles.cache_clear()


def test_a_plug_in_names_one_kind_or_several(plug_in, tmp_path: Path) -> None:
    plug_in((Marked, Greedy))
    (tmp_path / "marker").touch()
    described = describe(tmp_path)
    assert described == Description(
        kind=Marked,
        root=tmp_path,
        name="marked",
        classes=(ClassInfo("thing", (1, 2, 3)),),
        ignore_index=255,
        modalities=(),
        splits=("train",),
    )
    assert describe(described) is described
    assert open_dataset(tmp_path, "train").ids == ("only",)


@pytest.mark.parametrize("file", ["marker", "dataset.toml"])
def test_two_kinds_that_claim_a_folder_are_named(plug_in, file: str, tmp_path: Path) -> None:
    plug_in(Marked, Other, Greedy)
    (tmp_path / file).touch()
    with pytest.raises(DataSetError, match="more than one kind of data set claims the folder") as error:
        describe(tmp_path)
    both = {
        "marker": ("marked (armseg-toy 1.0)", "other (armseg-toy 1.0)"),
        "dataset.toml": ("folder data set (built in)", "greedy (armseg-toy 1.0)"),
    }
    for named in both[file]:
        assert named in str(error.value)


def test_a_kind_is_chosen_by_its_title(plug_in, tmp_path: Path) -> None:
    plug_in(Marked, Other)
    (tmp_path / "marker").touch()
    assert describe(tmp_path, kind="Other").kind is Other
    assert open_dataset(describe(tmp_path, kind="marked"), "train").title == "marked"
    with pytest.raises(UsageError, match=r"no kind of data set is called 'boxes'.*MFNet.*marked, other"):
        describe(tmp_path, kind="boxes")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Plugin("g", "toy0", "armseg-toy", "1.0", problem="x:y cannot be loaded"), "x:y cannot be loaded"),
        (object, "it loads <class 'object'>, not a subclass of DataSet or a tuple of them"),
        ((Marked, 3), "it loads 3, not a subclass of DataSet or a tuple of them"),
        (Nameless, "Nameless has no title"),
        (Taken, "the title 'MFNET' belongs to another kind of data set"),
        ((Marked, Marked), "the title 'marked' belongs to another kind of data set"),
    ],
)
def test_a_broken_plug_in_is_named_in_one_line_and_left_out(
    plug_in, value: object, problem: str, sample_data: Path
) -> None:
    plug_in(value, Other)
    with pytest.warns(ArmsegWarning) as notes:
        described = describe(sample_data)
    line = f"the data set plug-in 'toy0' of armseg-toy 1.0 is left out: {problem}"
    assert [str(note.message) for note in notes] == [line]
    assert described.name == "simulated"  # what does without the plug-in goes on
    assert set(registry.kind_titles()) - set(registry.BUILT_IN) == {Other}


def test_a_plug_in_that_fails_on_a_folder_does_not_claim_it(plug_in, sample_data: Path) -> None:
    plug_in(Failing)
    with pytest.warns(ArmsegWarning) as notes:
        assert describe(sample_data).name == "simulated"
    line = f"failing (armseg-toy 1.0) cannot tell whether {sample_data} is its own: KeyError: 'no\\nsuch key'"
    assert [str(note.message) for note in notes] == [line]


def test_a_description_can_be_changed_before_a_split_is_opened(sample_data: Path) -> None:
    described = replace(describe(sample_data), name="mine")
    assert open_dataset(described, "test").name == "mine"
