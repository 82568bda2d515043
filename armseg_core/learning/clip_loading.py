"""Loading CLIP: the bundled armseg-tiny, an open_clip model by tag or weights file, or a config file."""

from __future__ import annotations

import contextlib
import difflib
import gzip
import hashlib
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from armseg_core.config.model import TINY, ModelConfig
from armseg_core.errors import ArmsegWarning, CheckpointError, InputError, UsageError
from armseg_core.files.text import read_text
from armseg_core.model.layers import refuse_other_weights

TINY_FOLDER = Path(__file__).parent.parent / "assets" / "armseg_tiny"
TINY_NOTICE = (
    "using armseg-tiny, a small demonstration CLIP trained on simulated scenes; for real work give real "
    "weights: --guide ViT-B-16-quickgelu --guide-pretrained openai (or --guide-weights FILE)"
)
# sentences whose mean is the embedding of a class name (Radford et al. 2021, section 3.1.4)
TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a scene with a {}.",
    "there is a {} in the scene.",
    "an image of a {}.",
    "a close view of a {}.",
    "a {}.",
)


@dataclass(frozen=True)
class ClipIdentity:
    """What a model folder records of its CLIP, so that the same frozen weights are found again."""

    name: str
    pretrained: str | None
    weights: str | None
    sha256: str  # over the visual tower's tensors, by name
    quick_gelu: bool


class LoadedClip:
    """A CLIP with frozen weights: `visual` tower, text encoder and identity."""

    def __init__(self, model: Any, tokenizer: Any, identity: ClipIdentity) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.visual: nn.Module = model.visual
        self.tokenizer = tokenizer
        self.identity = identity

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Unit-length embeddings (N, E) float32 of N texts, on the model's device.

        Nothing is kept between calls: the last bits of an embedding depend on the texts it is computed with,
        and a resumed training must see the same bits as an undisturbed one.
        """
        device = next(self.model.parameters()).device
        distinct = list(dict.fromkeys(texts))
        parts = []
        for start in range(0, len(distinct), 256):
            tokens = self.tokenizer(distinct[start : start + 256]).to(device)
            with torch.autocast(device.type, enabled=False):
                parts.append(self.model.encode_text(tokens, normalize=True).float())
        place = {text: i for i, text in enumerate(distinct)}
        return torch.cat(parts)[[place[text] for text in texts]]

    def class_matrix(self, classes: list[tuple[str, ...]]) -> Tensor:
        """(K, E): mean over templates and synonyms of each class's text embedding, unit length.

        classes: for each class its name followed by its synonyms.
        """
        rows = []
        for names in classes:
            texts = [template.format(name.replace("_", " ")) for name in names for template in TEMPLATES]
            rows.append(nn.functional.normalize(self.encode_text(texts).mean(0), dim=0))
        return torch.stack(rows)


def small_tokenizer(vocab_size: int, context_length: int) -> Any:
    """CLIP's byte-pair tokenizer with only its first merges: a vocabulary of `vocab_size` entries."""
    import open_clip

    merges = list(open_clip.SimpleTokenizer().bpe_ranks)[: max(0, vocab_size - 514)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merges.gz"
        path.write_bytes(gzip.compress("\n".join(["#version"] + [" ".join(m) for m in merges]).encode()))
        tokenizer = open_clip.SimpleTokenizer(bpe_path=str(path), context_length=context_length)
    if tokenizer.vocab_size != vocab_size:
        raise InputError(f"CLIP config with a vocabulary of {vocab_size} tokens", expected="514 to 49408")
    return tokenizer


def tower_sha256(visual: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a tower's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def build_from_config(path: Path) -> tuple[Any, Any]:
    """An untrained CLIP and its tokenizer from a config file in open_clip's own format.

    The file is `{"model_cfg": {...}, "preprocess_cfg": {"mean": [...], "std": [...]}}`.

    Raises:
        InputError: missing or invalid file.
    """
    import open_clip

    try:
        config = json.loads(read_text(path))
        cfg = config["model_cfg"]
        text = cfg["text_cfg"]
        vocab_size, context_length = text.get("vocab_size", 49408), text.get("context_length", 77)
        model: Any = open_clip.CLIP(**cfg)
        model.visual.preprocess_cfg = {name: config["preprocess_cfg"][name] for name in ("mean", "std")}
    except InputError as error:
        raise InputError(f"CLIP config cannot be read ({error.what})", where=path) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"not a CLIP config ({type(error).__name__}: {error})",
            where=path,
            expected="open_clip's JSON with model_cfg and preprocess_cfg",
        ) from error
    return model, small_tokenizer(vocab_size, context_length)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a CLIP from a local .safetensors / .pt file.

    Raises:
        CheckpointError: missing, unreadable, or of another architecture.
    """
    if not path.is_file():
        raise CheckpointError("no such file of CLIP weights", where=path, hint="--guide-weights FILE")
    state = read_state(path)
    refuse_other_weights(
        model.state_dict(),
        state,
        "another --guide name",
        needless=("attn_mask", "num_batches_tracked"),
        where=path,
    )
    model.load_state_dict(state, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, as float32."""
    import safetensors.torch

    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            if is_torchscript(path):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # the format is old; its files stay
                    loaded = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]  # torch does not say
            else:
                loaded = torch.load(path, map_location="cpu", weights_only=True)
            state = next((loaded[key] for key in ("state_dict", "model") if key in loaded), loaded)
        sizes = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's own files
        return {k.removeprefix("module."): v.float() for k, v in state.items() if k not in sizes}
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise CheckpointError(
            "weights cannot be read (truncated, or not a weights file)",
            where=path,
            expected=".safetensors, a plain state dict, or OpenAI's TorchScript archive",
        ) from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes its CLIP: tensors and code in a zip."""
    if not zipfile.is_zipfile(path):
        return False
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    return False


def load_clip(config: ModelConfig) -> LoadedClip:
    """The CLIP a configuration names.

    Raises:
        UsageError: unknown model or tag, weights not named, or an activation (QuickGELU) mismatch.
        InputError: a config file that cannot be read.
        CheckpointError: weights that cannot be fetched or read.
    """
    if config.guide == TINY:
        model, tokenizer = build_from_config(TINY_FOLDER / "open_clip_config.json")
        load_weights(model, TINY_FOLDER / "model.safetensors")
        quick = False
    elif config.guide.endswith(".json"):
        if config.guide_weights is None:
            raise UsageError(f"--guide {config.guide} needs weights", hint="--guide-weights FILE")
        model, tokenizer = build_from_config(Path(config.guide))
        load_weights(model, config.guide_weights)
        quick = bool(json.loads(read_text(config.guide))["model_cfg"].get("quick_gelu", False))
    else:
        model, tokenizer, quick = _named(config)
    identity = ClipIdentity(
        name=config.guide,
        pretrained=config.guide_pretrained,
        weights=None if config.guide_weights is None else str(config.guide_weights),
        sha256=tower_sha256(model.visual),
        quick_gelu=quick,
    )
    return LoadedClip(model, tokenizer, identity)


def _named(config: ModelConfig) -> tuple[Any, Any, bool]:
    """(model, tokenizer, QuickGELU) of an open_clip model, with weights from its tag or from a file."""
    import open_clip

    name = config.guide
    quick = _check_name_and_tag(config)
    with quiet_logging():
        try:
            model: Any = open_clip.create_model(
                name,
                pretrained=config.guide_pretrained if config.guide_weights is None else None,
                pretrained_text=False,
                force_preprocess_cfg=_preprocessing(config),
            )
            tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # hub, network and file errors of many kinds
            raise CheckpointError(
                f"weights or tokenizer of {name} could not be fetched ({type(error).__name__})",
                hint="--guide-weights FILE, or run once with internet access (armseg doctor shows the cache)",
            ) from error
    if config.guide_weights is not None:
        load_weights(model, config.guide_weights)
    return model, tokenizer, quick


def _check_name_and_tag(config: ModelConfig) -> bool:
    """Whether the named model has QuickGELU, after checking that its weights fit, before any download.

    With both a tag and a file the tag says which weights the file holds.
    """
    import open_clip

    name = config.guide
    known = open_clip.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UsageError(
            f"unknown CLIP model '{name}'", hint=", ".join(near) or "armseg-tiny, ViT-B-16-quickgelu"
        )
    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if config.guide_pretrained is None:
        if config.guide_weights is None:
            shown = ", ".join(tags[:6]) or "none known"
            raise UsageError(
                f"--guide {name} needs weights",
                hint=f"--guide-pretrained TAG ({shown}) or --guide-weights FILE",
            )
        _check_activation(name, quick, config.guide_weights, f"{name}-quickgelu" in known)
        return quick
    if config.guide_pretrained not in tags:
        raise UsageError(
            f"{name} has no pretrained tag '{config.guide_pretrained}'", expected="one of " + ", ".join(tags)
        )
    tag_quick = bool(open_clip.get_pretrained_cfg(name, config.guide_pretrained).get("quick_gelu", False))
    if tag_quick != quick:
        other = name.removesuffix("-quickgelu") if quick else f"{name}-quickgelu"
        raise UsageError(
            f"tag '{config.guide_pretrained}' was trained {'with' if tag_quick else 'without'} QuickGELU, "
            f"{name} is {'with' if quick else 'without'}",
            hint=f"--guide {other}",
        )
    return quick


def _check_activation(name: str, quick: bool, weights: Path, has_twin: bool) -> None:
    """A weights file does not tell its activation; with the other one its features are silently wrong.

    Raises:
        UsageError: OpenAI's own file, which is with QuickGELU, for a model without it.
    """
    if quick or not has_twin:
        return
    if is_torchscript(weights):
        raise UsageError(
            f"OpenAI's weights were trained with QuickGELU, {name} is without",
            where=weights,
            hint=f"--guide {name}-quickgelu",
        )
    what = f"{weights} does not tell its activation; taken as {name}, without QuickGELU"
    other = f"--guide {name}-quickgelu where it was trained with it, --guide-pretrained TAG to be told"
    warnings.warn(ArmsegWarning(f"{what} ({other})"), stacklevel=5)


def _preprocessing(config: ModelConfig) -> dict[str, Any]:
    """Mean and deviation of the images that a weights file was trained with.

    Those of the tag, else those that all tags of the model share (SigLIP's differ from OpenAI's); empty where
    open_clip knows by itself.
    """
    import open_clip

    if config.guide_weights is None:
        return {}
    known = open_clip.list_pretrained_tags_by_model(config.guide)
    tags = [config.guide_pretrained] if config.guide_pretrained else known
    found = [open_clip.get_pretrained_cfg(config.guide, tag) for tag in tags]
    shared = {key: {tuple(cfg.get(key) or ()) for cfg in found} for key in ("mean", "std")}
    return {key: values.pop() for key, values in shared.items() if len(values) == 1 and () not in values}


@contextlib.contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep open_clip and timm from announcing random weights where a file is loaded right after."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
