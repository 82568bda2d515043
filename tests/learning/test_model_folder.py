"""The model folder: what is in it, that loading gives the same model, and what is said when it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small_models import TOY, inputs, shake, small_model, write_clip

from armseg_core.data.sample import ClassInfo
from armseg_core.errors import CheckpointError
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.learning.model_folder import load, save

CITY = KnownDataSet(
    "city", (ClassInfo("road", (128, 64, 128), ("street", "asphalt")), ClassInfo("tree", (0, 128, 0)))
)


@pytest.fixture(scope="module")
def model(small_clip) -> Model:
    model = small_model(small_clip, ("depth", "event"), datasets=(TOY, CITY))
    shake(model.segmenter)
    for m in model.modalities:
        channels = model.segmenter.standardize[m].mean.shape[1]
        model.segmenter.standardize[m].set(torch.rand(channels), torch.rand(channels) + 0.5)
    model.metrics = {"step": 7, "miou": {"toy": {"rgb": 0.25}}}
    return model


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    save(model, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refuse(folder: Path, *words: str, **kwargs: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "armseg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_folder_holds_exactly_the_documented_files_and_no_pickle(saved: Path) -> None:
    files = sorted(p.relative_to(saved).as_posix() for p in saved.rglob("*") if p.is_file())
    assert files == sorted(
        [
            "armseg.json",
            "README.md",
            "segmenter.safetensors",
            "class_embeddings.safetensors",
            *(
                f"adapters/{m}/adapter_{part}"
                for m in ("rgb", "depth", "event")
                for part in ("config.json", "model.safetensors")
            ),
        ]
    )
    for path in saved.rglob("*.json"):
        json.loads(path.read_text())
    for path in saved.rglob("*.safetensors"):
        safetensors.torch.load_file(path)
    assert sum(p.stat().st_size for p in saved.rglob("*") if p.is_file()) < 8_000_000
    assert oct(saved.stat().st_mode & 0o777) == oct(0o777 & ~_umask())
    assert {oct(p.stat().st_mode & 0o777) for p in saved.rglob("*.*")} == {oct(0o666 & ~_umask())}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_no_frozen_weight_is_stored(saved: Path) -> None:
    names = {n for p in saved.rglob("*.safetensors") for n in safetensors.torch.load_file(p)}
    assert not [
        n for n in names if "visual" in n or "base_layer" in n or ("resblocks" in n and "lora_" not in n)
    ]


@pytest.mark.parametrize(
    ("sensors", "dataset"), [((), 0), (("depth",), 0), (("event",), 1), (("depth", "event"), 1)]
)
def test_the_loaded_model_predicts_the_same_bits(model: Model, saved: Path, sensors, dataset) -> None:
    loaded = load(saved)
    rgb, *frames = inputs(*sensors, batch=2, size=(33, 47))
    args = (rgb, dict(zip(sensors, frames, strict=True)), dataset)
    with torch.no_grad():
        expected, got = model.segmenter(*args), loaded.segmenter(*args)
    assert torch.equal(got.logits, expected.logits)
    assert all(torch.equal(got.embeddings[n], t) for n, t in expected.embeddings.items())
    assert not loaded.segmenter.training


def test_the_loaded_model_knows_what_the_saved_one_knew(model: Model, saved: Path) -> None:
    loaded = load(saved)
    assert (loaded.datasets, loaded.modalities, loaded.metrics) == (
        model.datasets,
        ("depth", "event"),
        model.metrics,
    )
    assert (loaded.config, loaded.identity) == (model.config, model.identity)
    assert loaded.clip is None
    assert loaded.prompts.keys() == model.prompts.keys()
    assert all(torch.equal(loaded.prompts[m], t) for m, t in model.prompts.items())
    own = model.segmenter.state_dict()
    assert all(torch.equal(t, own[n]) for n, t in loaded.segmenter.state_dict().items())
    assert loaded.dataset_index("city") == 1
    assert loaded.dataset_index(None) == 0
    with pytest.raises(CheckpointError, match=r"no data set 'town'.*toy, city"):
        loaded.dataset_index("town")


def test_saving_again_gives_the_same_model_folder(saved: Path, tmp_path: Path) -> None:
    save(load(saved), tmp_path / "again")
    for path in sorted(saved.rglob("*")):
        if path.suffix in (".safetensors", ".md") or path.name == "armseg.json":
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(saved)).read_bytes(), path


def test_a_model_with_a_frozen_tower_and_rgb_only(small_clip, tmp_path: Path) -> None:
    model = small_model(small_clip, (), lora_rank=0, aligned=False, dsrm=False)
    shake(model.segmenter)
    save(model, tmp_path / "model")
    assert not (tmp_path / "model" / "adapters").exists()
    rgb = inputs()[0]
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "model").segmenter(rgb).logits, model.segmenter(rgb).logits)


def test_the_card_says_what_the_model_is(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    for text in (
        "depth camera, event camera",
        "Classes of city: road, tree",
        '"rgb": 0.25',
        "armseg predict",
    ):
        assert text in card


def test_armseg_json_names_everything_needed(saved: Path, small_clip) -> None:
    meta = json.loads((saved / "armseg.json").read_text())
    assert meta["format_version"] == 3
    assert meta["guide"]["name"] == small_clip["guide"]
    assert re.fullmatch("[0-9a-f]{64}", meta["guide"]["sha256"])
    assert meta["modalities"]["depth"]["channels"] == ["depth", "valid", "inverse_depth"]
    assert meta["datasets"][1]["classes"][0] == {
        "name": "road",
        "color": [128, 64, 128],
        "synonyms": ["street", "asphalt"],
    }
    assert meta["versions"].keys() == {"armseg", "torch", "open_clip_torch", "peft", "timm"}


# -- folders that cannot be loaded


@pytest.mark.parametrize(
    "path",
    [
        "armseg.json",
        "segmenter.safetensors",
        "class_embeddings.safetensors",
        "adapters/rgb/adapter_model.safetensors",
        "adapters/event/adapter_model.safetensors",
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "missing", "empty"])
def test_a_damaged_file_is_named(folder: Path, path: str, damage: str) -> None:
    file = folder / path
    if damage == "missing":
        file.unlink()
        refuse(folder, str(folder), *(() if path == "armseg.json" else (path,)))
        return
    file.write_bytes(b"" if damage == "empty" else file.read_bytes()[: file.stat().st_size // 2])
    refuse(folder, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"guide": {}},
        {"guide": 3},
        {"backbone": {}},
        {"backbone": None},
        {"model": {"widht": 3}},
        {"model": {"width": "wide"}},
        {"datasets": [{"name": "x"}]},
        {"datasets": 7},
        {"modalities": ["depth"]},
        {"modalities": {"depth": {"channels": ["a"]}}},
        {"modalities": {"sonar": 3}},
        {"format_version": "x"},
    ],
)
def test_a_foreign_description_is_damage(folder: Path, changes: dict) -> None:
    edit(folder, **changes)
    refuse(folder, "armseg.json", "damaged")


def test_a_sensor_that_is_not_installed_is_named(folder: Path) -> None:
    edit(folder, modalities={"sonar": {"channels": ["a"]}})
    refuse(folder, "sensor 'sonar', which is not installed here", "armseg doctor")
    edit(folder, modalities={"sonar": {"channels": ["a"], "package": "armseg-toy"}})
    refuse(folder, "sensor 'sonar', which is not installed here", "pip install armseg-toy")


@pytest.mark.parametrize(
    "path",
    ["segmenter.safetensors", "class_embeddings.safetensors", "adapters/event/adapter_model.safetensors"],
)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor.fill_(float("nan")), "NaN or infinity"),
        (lambda tensor: tensor.fill_(float("-inf")), "NaN or infinity"),
        (lambda tensor: tensor.half(), "is float16 (expected float32)"),
    ],
    ids=["nan", "infinity", "float16"],
)
def test_weights_that_are_no_weights(folder: Path, path: str, change, words: str) -> None:
    tensors = safetensors.torch.load_file(folder / path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = change(tensors[name])
    safetensors.torch.save_file(tensors, folder / path)
    refuse(folder, path, f"'{name}'", words)


def test_files_that_are_none_are_not_waited_for(folder: Path) -> None:
    (folder / "segmenter.safetensors").unlink()
    os.mkfifo(folder / "segmenter.safetensors")
    refuse(folder, "segmenter.safetensors", "is a named pipe")


def test_a_description_nested_deeply(folder: Path) -> None:
    (folder / "armseg.json").write_text("[" * 100_000)
    refuse(folder, "armseg.json", "nested too deeply")


def test_options_of_a_model_name_no_file(folder: Path) -> None:
    """What is converted for a prediction is what the user names."""
    meta = json.loads((folder / "armseg.json").read_text())
    meta["datasets"][0]["options"] = {"event": {"end_times": "/etc/hostname"}}
    edit(folder, datasets=meta["datasets"])
    refuse(folder, "armseg.json", "name a file: end_times")


def test_a_description_that_is_no_object(folder: Path) -> None:
    (folder / "armseg.json").write_text("[1, 2]")
    refuse(folder, "armseg.json", "damaged")


def test_a_newer_folder_asks_for_a_newer_armseg(folder: Path) -> None:
    edit(folder, format_version=4)
    refuse(folder, "written by a newer armseg", "pip install -U armseg")


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_of_0_1_0_is_refused_with_one_clear_line(folder: Path, version: int) -> None:
    edit(folder, format_version=version)
    refuse(folder, "armseg.json: a model of armseg 0.1.0, whose network", "armseg train")


def test_a_sensor_with_other_channels_is_refused(folder: Path) -> None:
    edit(folder, modalities={"depth": {"channels": ["depth"]}, "event": {"channels": ["bin0"]}})
    refuse(folder, "other channels of depth")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    meta = json.loads((folder / "armseg.json").read_text())
    edit(folder, model=meta["model"] | {"width": 16})
    refuse(folder, "segmenter.safetensors", "other layers")


def test_class_embeddings_of_other_classes_are_refused(folder: Path) -> None:
    meta = json.loads((folder / "armseg.json").read_text())
    edit(folder, datasets=[meta["datasets"][0], meta["datasets"][0] | {"name": "more"}])
    refuse(folder, "class_embeddings.safetensors", "other classes")


def test_other_clip_weights_are_noticed(folder: Path, tmp_path: Path, model: Model) -> None:
    other = write_clip(tmp_path / "other", seed=5)
    text = refuse(
        folder,
        "not those the model was trained on",
        "--guide-weights",
        guide_weights=Path(other["guide_weights"]),
    )
    assert model.identity.sha256[:12] in text


def test_clip_weights_that_moved_can_be_named(folder: Path, small_clip, tmp_path: Path, model: Model) -> None:
    meta = json.loads((folder / "armseg.json").read_text())
    edit(folder, model=meta["model"] | {"guide_weights": str(tmp_path / "gone.safetensors")})
    assert "--guide-weights FILE" in refuse(folder, "gone.safetensors: no such file of CLIP weights")
    moved = shutil.copy(small_clip["guide_weights"], tmp_path / "here.safetensors")
    rgb = inputs()[0]
    with torch.no_grad():
        got = load(folder, guide_weights=Path(moved)).segmenter(rgb).logits
        assert torch.equal(got, model.segmenter(rgb).logits)


def test_saving_replaces_the_older_folder_as_a_whole(model: Model, folder: Path) -> None:
    left_over = folder / "adapters" / "sonar" / "adapter_model.safetensors"
    left_over.parent.mkdir()
    left_over.write_text("x")
    save(model, folder)
    assert not left_over.exists()
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_older_folder(model: Model, folder: Path, monkeypatch) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    monkeypatch.setattr(
        safetensors.torch, "save_file", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space"))
    )
    with pytest.raises(Exception, match="No space"):
        save(model, folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
