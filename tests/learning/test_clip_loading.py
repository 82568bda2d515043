"""Which CLIP is loaded, what is refused before anything is fetched, and what a weights file must hold."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from small_models import clip_config, write_clip

from armseg_core.config.model import ModelConfig
from armseg_core.errors import ArmsegError, CheckpointError, InputError, UsageError
from armseg_core.learning import clip_loading
from armseg_core.learning.clip_loading import (
    TEMPLATES,
    load_clip,
    load_weights,
    small_tokenizer,
    tower_sha256,
)
from armseg_core.model.ma_clip import modality_prompt
from armseg_core.sensors.modalities import MODALITIES


def load(**values) -> clip_loading.LoadedClip:
    return load_clip(ModelConfig(**values))


def refuse(match: str, kind: type[ArmsegError] = UsageError, **values) -> str:
    with pytest.raises(kind, match=match) as caught:
        load(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*args, **kwargs):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(open_clip, "create_model", fetch)
    monkeypatch.setattr(open_clip, "get_tokenizer", fetch)


@pytest.mark.usefixtures("no_downloads")
class TestRefusedBeforeAnyDownload:
    def test_unknown_model(self) -> None:
        assert "ViT-B-16" in refuse("unknown CLIP model 'ViT-B16'", guide="ViT-B16").split("Try:")[1]
        assert "armseg-tiny" in refuse("unknown CLIP model", guide="qqqqqqqqq").split("Try:")[1]

    def test_weights_that_are_not_named(self) -> None:
        assert "--guide-pretrained TAG (openai" in refuse("needs weights", guide="ViT-B-16-quickgelu")

    def test_unknown_tag(self) -> None:
        assert "openai" in refuse("no pretrained tag 'opneai'", guide="ViT-B-16", guide_pretrained="opneai")

    @pytest.mark.parametrize("weights", [None, "clip.safetensors"])
    def test_a_tag_trained_with_another_activation(self, weights) -> None:
        text = refuse(
            "trained with QuickGELU, ViT-B-16 is without",
            guide="ViT-B-16",
            guide_pretrained="openai",
            guide_weights=weights,
        )
        assert text.endswith("--guide ViT-B-16-quickgelu")
        # the other way round, for every pair that open_clip lists: never a silent mismatch
        for name, tag in open_clip.list_pretrained():
            has = bool(open_clip.get_model_config(name).get("quick_gelu", False))
            wants = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
            if has != wants:
                refuse("QuickGELU", guide=name, guide_pretrained=tag)

    def test_a_config_file_without_weights(self, small_clip) -> None:
        refuse("needs weights", guide=small_clip["guide"])


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", offline)
    text = refuse(
        "could not be fetched", CheckpointError, guide="ViT-B-16-quickgelu", guide_pretrained="openai"
    )
    assert "--guide-weights FILE" in text


def test_a_small_clip_is_loaded_as_it_was_saved(small_clip) -> None:
    clip = load(**small_clip)
    stored = safetensors.torch.load_file(small_clip["guide_weights"])
    assert all(torch.equal(t, stored[n]) for n, t in clip.model.state_dict().items() if n in stored)
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert not clip.model.training
    assert clip.visual.preprocess_cfg["mean"] == [0.5, 0.4, 0.3]
    assert (clip.identity.name, clip.identity.weights) == (small_clip["guide"], small_clip["guide_weights"])
    assert (clip.identity.pretrained, clip.identity.quick_gelu) == (None, False)


def test_a_plain_pt_file_of_half_precision_with_module_prefix_loads_too(small_clip, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(small_clip["guide_weights"])
    torch.save({"state_dict": {f"module.{n}": t.half() for n, t in state.items()}}, tmp_path / "clip.pt")
    clip = load(guide=small_clip["guide"], guide_weights=tmp_path / "clip.pt")
    assert clip.model.visual.proj.dtype == torch.float32
    assert torch.equal(clip.model.visual.proj, state["visual.proj"].half().float())


def test_the_hash_is_of_names_shapes_and_values(small_clip) -> None:
    a, b = load(**small_clip), load(**small_clip)
    assert a.identity.sha256 == b.identity.sha256 == tower_sha256(a.visual)
    with torch.no_grad():
        b.visual.proj[0, 0] += 1e-6
    assert tower_sha256(b.visual) != a.identity.sha256


class Archive(torch.nn.Module):
    """Tensors under the names of a CLIP and the sizes that OpenAI keeps beside them."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            *parents, last = name.split(".")
            place = self
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, torch.nn.Module())
                place = getattr(place, parent)
            place.register_buffer(last, tensor)
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self) -> torch.Tensor:
        return self.input_resolution


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_the_torchscript_archive_of_openai_loads(small_clip, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(small_clip["guide_weights"])
    torch.jit.script(Archive({name: t.half() for name, t in state.items()})).save(str(tmp_path / "ViT.pt"))
    assert clip_loading.is_torchscript(tmp_path / "ViT.pt")
    clip = load(guide=small_clip["guide"], guide_weights=tmp_path / "ViT.pt")
    assert torch.equal(clip.model.visual.proj, state["visual.proj"].half().float())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.usefixtures("no_downloads")
def test_weights_without_a_tag_say_nothing_about_quickgelu(tmp_path: Path) -> None:
    """A model that exists with and without it: OpenAI's file decides, any other is said."""
    weights = tmp_path / "clip.pt"
    torch.jit.script(Archive({"a": torch.zeros(1)})).save(str(weights))
    refuse("OpenAI's weights .* Try: --guide ViT-B-16-quickgelu$", guide="ViT-B-16", guide_weights=weights)
    torch.save({"a": torch.zeros(1)}, weights)
    for name, is_said in (("ViT-B-16", True), ("ViT-B-16-quickgelu", False), ("ViT-B-16-SigLIP", False)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            clip_loading._check_name_and_tag(ModelConfig(guide=name, guide_weights=weights))
        assert ["does not tell its activation" in str(w.message) for w in said] == [True] * is_said


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "a pickle of code", "folder"])
def test_weights_that_cannot_be_read(damage: str, small_clip, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if damage == "truncated":
        path.write_bytes(Path(small_clip["guide_weights"]).read_bytes()[:-50])
    elif damage == "text":
        path.write_text("not weights")
    elif damage == "a pickle of code":
        path = tmp_path / "weights.pt"
        torch.save({"state_dict": Path("x")}, path)
    elif damage == "folder":
        path.mkdir()
    text = refuse(
        "no such file" if damage in ("missing", "folder") else "cannot be read",
        CheckpointError,
        guide=small_clip["guide"],
        guide_weights=path,
    )
    assert text.startswith(str(path))


@pytest.mark.parametrize(
    ("sizes", "counted"),
    [
        ({"layers": 3}, "0 tensors missing, 12 unknown, 0 of another shape"),
        ({"layers": 5}, "12 tensors missing, 0 unknown, 0 of another shape"),
        ({"patch": 4}, "0 tensors missing, 0 unknown, 2 of another shape"),
    ],
)
def test_weights_of_another_architecture(sizes, counted, small_clip, tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(clip_config(**sizes)))
    assert counted in refuse(
        "another architecture", CheckpointError, guide=str(path), guide_weights=small_clip["guide_weights"]
    )
    model = open_clip.CLIP(**clip_config(**sizes)["model_cfg"])
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_weights(model, Path(small_clip["guide_weights"]))
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        "{ not json",
        "[]",
        "{}",
        '{"model_cfg": {"embed_dim": 3}}',
        '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}, "typo": 1}}',
    ],
)
def test_a_broken_config_file(content: str, small_clip, tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    path.write_text(content)
    refuse("not a CLIP config", InputError, guide=str(path), guide_weights=small_clip["guide_weights"])


def test_a_missing_config_file(small_clip) -> None:
    refuse("cannot be read", InputError, guide="nothing.json", guide_weights=small_clip["guide_weights"])


def test_a_named_model_takes_local_weights_quietly(tmp_path: Path, caplog, capsys, monkeypatch) -> None:
    """The path of `--guide NAME --guide-weights FILE`, on a model that open_clip is taught for the test."""
    config = clip_config()["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "toy-clip", config)
    write_clip(tmp_path)
    with caplog.at_level(logging.INFO):
        clip = load(guide="toy-clip", guide_weights=tmp_path / "clip.safetensors")
    assert torch.equal(
        clip.visual.proj, safetensors.torch.load_file(tmp_path / "clip.safetensors")["visual.proj"]
    )
    assert not caplog.records  # open_clip would announce that the model is random
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "tag", "mean"),
    [
        ("ViT-B-16-SigLIP", None, (0.5, 0.5, 0.5)),
        ("MobileCLIP2-S0", None, (0.0, 0.0, 0.0)),
        ("ViT-B-16-quickgelu", None, (0.48145466, 0.4578275, 0.40821073)),
        ("ViT-B-16", "datacomp_xl_s13b_b90k", (0.48145466, 0.4578275, 0.40821073)),
    ],
)
def test_a_weights_file_gets_the_image_statistics_of_its_model(name, tag, mean) -> None:
    found = clip_loading._preprocessing(
        ModelConfig(guide=name, guide_pretrained=tag, guide_weights="file.safetensors")
    )
    assert found["mean"] == mean
    assert (
        clip_loading._preprocessing(ModelConfig(guide=name, guide_pretrained="x")) == {}
    )  # open_clip knows it


# -- texts


def test_texts_are_open_clips_own_embeddings_and_repeats_are_encoded_once(small_clip, monkeypatch) -> None:
    clip = load(**small_clip)
    texts = ["a photo of a car.", "a tree.", "a photo of a car."]
    expected = torch.nn.functional.normalize(clip.model.encode_text(clip.tokenizer(texts)), dim=-1)
    sizes, encode = [], clip.model.encode_text
    monkeypatch.setattr(
        clip.model, "encode_text", lambda t, normalize: sizes.append(len(t)) or encode(t, normalize)
    )
    assert torch.allclose(clip.encode_text(texts), expected, atol=1e-6)
    assert clip.encode_text([str(i) for i in range(300)]).shape == (300, 24)
    assert sizes == [2, 256, 44]


def test_an_embedding_does_not_depend_on_earlier_calls(small_clip) -> None:
    fresh, used = load(**small_clip), load(**small_clip)
    used.encode_text(["a tree."])
    used.encode_text(["a car.", "a dog.", "a tree."])
    texts = ["a tree.", "a car."]
    assert torch.equal(fresh.encode_text(texts), used.encode_text(texts))


def test_class_matrix_is_the_mean_over_templates_and_synonyms(small_clip) -> None:
    clip = load(**small_clip)
    got = clip.class_matrix([("car",), ("traffic_light", "signal")])
    second = clip.encode_text([t.format(n) for n in ("traffic light", "signal") for t in TEMPLATES]).mean(0)
    assert torch.allclose(got[1], second / second.norm(), atol=1e-6)
    assert torch.allclose(got.norm(dim=-1), torch.ones(2))


def test_the_small_tokenizer_is_clips_own_with_fewer_merges() -> None:
    full, small = open_clip.SimpleTokenizer(), small_tokenizer(2000, 20)
    assert small.vocab_size == 2000
    tokens = small(["a photo of a car"])
    assert tokens.shape == (1, 20)
    assert small.decode(tokens[0, 1 : tokens[0].argmax()].tolist()).strip() == "a photo of a car"
    assert small_tokenizer(49408, 77)(["a photo of a car"]).equal(full(["a photo of a car"]))
    for size in (100, 60_000):
        with pytest.raises(InputError, match="514 to 49408"):
            small_tokenizer(size, 20)


# -- the bundled CLIP


def test_armseg_tiny_is_small_offline_and_knows_its_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("a connection was begun"))
    clip = load()
    assert (clip.identity.name, clip.identity.quick_gelu) == ("armseg-tiny", False)
    assert sum(p.numel() for p in clip.visual.parameters()) <= 6_000_000
    stored = clip_loading.TINY_FOLDER / "model.safetensors"
    assert stored.stat().st_size <= 12 * 2**20
    assert {t.dtype for t in safetensors.torch.load_file(stored).values()} == {torch.float16}
    # every class name keeps a direction of its own: no two texts of the table collapse
    prompts = clip.encode_text([modality_prompt(m) for m in MODALITIES])
    cosine = prompts @ prompts.T - torch.eye(len(prompts))
    assert cosine.max() < 0.9
