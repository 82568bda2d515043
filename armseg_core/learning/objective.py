"""What a training step minimizes: the weighted loss terms of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from armseg_core.config.model import NONE
from armseg_core.config.training import TrainConfig
from armseg_core.learning import losses
from armseg_core.learning.model import Model
from armseg_core.model.ma_clip import scene_prompt
from armseg_core.model.segmenter import SegmenterOutput
from armseg_core.model.streams import STRIDES


def loss_terms(
    config: TrainConfig,
    model: Model,
    out: SegmenterOutput,
    label: Tensor,
    dataset: int,
    recognized: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The weighted loss terms that are switched on.

    label: (B, H, W) int64. recognized: MA-CLIP's embeddings where it does not guide and learns to recognize
    sensors all the same (see `streams_to_recognize`).
    """
    weights = config.loss
    terms: dict[str, Tensor] = {}
    if weights.cross_entropy:
        terms["cross_entropy"] = weights.cross_entropy * losses.cross_entropy(out.logits, label, weights.ohem)
    if weights.dice:
        terms["dice"] = weights.dice * losses.dice(out.logits, label)
    if weights.lovasz:
        terms["lovasz"] = weights.lovasz * losses.lovasz(out.logits, label)
    if weights.deep and out.coarse:
        terms["deep"] = weights.deep * losses.deep_supervision(out.coarse, STRIDES[1:], label)
    if weights.align and out.aligned:
        pairs = [losses.alignment(*maps) for maps in out.aligned.values()]
        terms["align"] = weights.align * torch.stack(pairs).mean()
    embeddings = out.embeddings or dict(recognized or {})
    if weights.contrastive and config.model.lora_rank and embeddings:
        terms["contrastive"] = weights.contrastive * contrastive_term(model, embeddings, label, dataset)
    return terms


def streams_to_recognize(
    config: TrainConfig, rgb: Tensor | None, sensors: Mapping[str, Tensor], step: int
) -> dict[str, Tensor]:
    """The streams of a step whose sensor MA-CLIP learns to tell, where it does not guide: of some steps."""
    learns = config.loss.contrastive and config.model.lora_rank and config.model.guide != NONE
    if not learns or config.model.guided or step % config.recognition_every:
        return {}
    return {**({} if rgb is None else {"rgb": rgb}), **sensors}


def contrastive_term(model: Model, embeddings: dict[str, Tensor], label: Tensor, dataset: int) -> Tensor:
    """MA-CLIP's loss: each stream's embedding against the prompts of modality and content.

    The prompts name the modality and the scene's content (the other images of the batch are the wrong
    contents), or a modality alone.
    """
    assert model.clip is not None
    names = model.datasets[dataset].class_names
    contents = [content_of(mask, names) for mask in label]
    known = ("rgb", *model.modalities)
    total = label.new_zeros((), dtype=torch.float32)
    for modality, embedding in embeddings.items():
        texts = [scene_prompt(modality, c) for c in contents]
        same = torch.tensor([[a == b for b in texts] for a in texts], device=label.device)
        total = total + losses.contrastive(embedding, model.clip.encode_text(texts), same)
        if len(known) > 1:
            which = torch.tensor([m == modality for m in known], device=label.device).expand(
                len(embedding), -1
            )
            prompts = torch.stack([model.prompts[m] for m in known]).to(label.device)
            total = total + losses.contrastive(embedding, prompts, which)
    return total / len(embeddings)


def content_of(label: Tensor, names: tuple[str, ...], share: float = 0.01, most: int = 6) -> list[str]:
    """Names of the classes that cover at least `share` of the labeled pixels, largest first.

    label: (H, W). most: names at most; a prompt has room for 77 tokens, and the small things in a scene say
    little about it. share: what covers less is lost in an embedding of the whole image.
    """
    counts = torch.bincount(label[label != losses.IGNORE], minlength=len(names))
    order = counts.argsort(descending=True, stable=True)[:most].tolist()
    return [names[i] for i in order if counts[i] >= share * counts.sum() and counts[i] > 0]
