"""Trains armseg-tiny, the bundled demonstration CLIP, on simulated scenes, and writes its model card.

Every sensor of a scene is rendered as an image (its pseudo-RGB map in `modalities.py`) and captioned with the modality
and the content of the crop. Two contrastive losses: image against caption (CLIP), and patch against the name of the
class that covers it (region-text, as in RegionCLIP, Zhong et al., CVPR 2022).

    armseg simulate WORK/train --scenes 1200 --seed 7001 --size 160x128 --workers 2
    armseg simulate WORK/test  --scenes 200  --seed 7002 --size 160x128 --workers 2
    python scripts/train_armseg_tiny.py WORK --steps 1500

Takes about a quarter of an hour on 2 CPU cores. The seeds 7001 and 7002 are used for nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from armseg_core.data import open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.learning import losses
from armseg_core.learning.clip_loading import TINY_FOLDER, LoadedClip, build_from_config
from armseg_core.learning.inference import autocast
from armseg_core.learning.objective import content_of
from armseg_core.model.ma_clip import modality_prompt, pseudo_rgb_layer, scene_prompt
from armseg_core.sensors.modalities import MODALITIES

NAMES = tuple(MODALITIES)


class Scenes(Dataset):
    """A scene as the images (modalities, 3, H, W) float16 of all its sensors, and its label (H, W) uint8."""

    def __init__(self, dataset: DataSet) -> None:
        self.dataset = dataset
        self.maps = {m: pseudo_rgb_layer(MODALITIES[m]).requires_grad_(False) for m in NAMES}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        sample = self.dataset.load(i)
        tensors = {"rgb": sample.rgb, **sample.sensors}
        images = [self.maps[m](torch.from_numpy(tensors[m])[None])[0].clamp(-1, 2).half() for m in NAMES]
        return torch.stack(images), torch.from_numpy(sample.label).to(torch.uint8)


def load_split(folder: Path, cache: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """All scenes of a simulated folder as images (N, modalities, 3, H, W) float16 and labels (N, H, W) uint8."""
    stored = cache / f"{folder.name}.pt"
    names = open_dataset(folder, "train", ()).class_names
    if stored.exists():
        images, labels = torch.load(stored, weights_only=True)
        return images, labels, names
    images, labels = [], []
    for split in ("train", "val", "test"):
        scenes = Scenes(open_dataset(folder, split))
        for image, label in tqdm(
            DataLoader(scenes, batch_size=None, num_workers=2), desc=f"{folder.name}/{split}"
        ):
            images.append(image)
            labels.append(label)
    result = torch.stack(images), torch.stack(labels)
    torch.save(result, stored)
    return *result, names


def crops(
    images: Tensor, labels: Tensor, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Random resized crops (half to full side length, mirrored by chance): (B, 3, h, w), (B, h, w)."""
    out, masks = [], []
    h, w = labels.shape[-2:]
    for image, label in zip(images, labels, strict=True):
        side = rng.uniform(0.5, 1.0)
        ch, cw = round(h * side), round(w * side)
        y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
        image = F.interpolate(image[None, :, y : y + ch, x : x + cw].float(), size=size, mode="area")[0]
        label = F.interpolate(label[None, None, y : y + ch, x : x + cw].float(), size=size, mode="nearest")[
            0, 0
        ]
        if rng.random() < 0.5:
            image, label = image.flip(-1), label.flip(-1)
        out.append(image)
        masks.append(label.long())
    return torch.stack(out), torch.stack(masks)


def patch_labels(labels: Tensor, patch: int) -> Tensor:
    """(B, h, w) -> (B, h / p * w / p): the class that covers most of each patch."""
    blocks = labels.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3).flatten(1, 2)
    return blocks.mode(-1).values


def train_step(
    model, tokenizer, images, labels, names, text_names, rng, size, device, precision
) -> tuple[Tensor, float, float]:
    """Loss of one batch of scenes, each shown by one of two modalities."""
    mean = torch.tensor(model.visual.preprocess_cfg["mean"], device=device).view(1, 3, 1, 1)
    std = torch.tensor(model.visual.preprocess_cfg["std"], device=device).view(1, 3, 1, 1)
    picked = [NAMES[i] for i in rng.choice(len(NAMES), 2, replace=False)]
    modality = [picked[i % 2] for i in range(len(images))]
    chosen = torch.stack([image[NAMES.index(m)] for image, m in zip(images, modality, strict=True)])
    x, y = crops(chosen, labels, size, rng)
    texts = [scene_prompt(m, content_of(mask, names)) for m, mask in zip(modality, y, strict=True)]
    extra = [modality_prompt(m) for m in NAMES]
    same = torch.tensor(
        [
            [a == b for b in texts] + [modality_prompt(m) == e for e in extra]
            for a, m in zip(texts, modality, strict=True)
        ]
    )
    x, y, same = x.to(device), y.to(device), same.to(device)
    with autocast(device, precision):
        v = model.visual
        tokens = v.transformer(v._embeds((x - mean) / std))
        features = v.ln_post(tokens) @ v.proj
        text = model.encode_text(tokenizer(texts + extra + text_names).to(device))
    features, text = F.normalize(features.float(), dim=-1), F.normalize(text.float(), dim=-1)
    captions, classes = text[: len(texts) + len(extra)], text[len(texts) + len(extra) :]
    scale = model.logit_scale.exp().clamp(max=100)
    image_text = losses.contrastive(features[:, 0], captions, same, scale)
    text_image = losses.contrastive(captions[: len(texts)], features[:, 0], same[:, : len(texts)].T, scale)
    patch = F.cross_entropy(
        (scale * features[:, 1:] @ classes.T).flatten(0, 1),
        patch_labels(y, v.patch_size[0]).flatten(),
        ignore_index=losses.IGNORE,
    )
    contrast = 0.5 * (image_text + text_image)
    return contrast + patch, contrast.item(), patch.item()


@torch.inference_mode()
def measure(model, clip: LoadedClip, images: Tensor, labels: Tensor, names, device) -> dict:
    """Held-out figures at full resolution: modality accuracy, and image-to-caption retrieval within each modality."""
    from armseg_core.model.guide_tower import ClipTower

    tower = ClipTower(model.visual).eval()
    prompts = clip.encode_text([modality_prompt(m) for m in NAMES])
    result: dict = {
        "scenes": len(images),
        "modality_accuracy": {},
        "retrieval_at_1": {},
        "retrieval_at_5": {},
        "distinct_captions": 0,
    }
    contents = [content_of(label.long(), names) for label in labels]
    for k, m in enumerate(NAMES):
        embedded = torch.cat(
            [
                tower(tower.normalize(images[i : i + 32, k].float().to(device))).embedding
                for i in range(0, len(images), 32)
            ]
        )
        guess = (embedded @ prompts.T).argmax(-1)
        result["modality_accuracy"][m] = round((guess == k).float().mean().item(), 4)
        texts = [scene_prompt(m, c) for c in contents]
        distinct = list(dict.fromkeys(texts))
        target = torch.tensor([distinct.index(t) for t in texts], device=embedded.device)
        order = (embedded @ clip.encode_text(distinct).T).topk(5).indices
        result["retrieval_at_1"][m] = round((order[:, 0] == target).float().mean().item(), 4)
        result["retrieval_at_5"][m] = round((order == target[:, None]).any(-1).float().mean().item(), 4)
        result["distinct_captions"] = len(distinct)
    return result


CARD = """# armseg-tiny

A very small CLIP for demonstration and tests: it lets armseg run offline on a fresh machine. It has seen nothing but
simulated scenes. **Do not use it for real work**: give real weights with `--guide ViT-B-16-quickgelu --guide-pretrained openai`
or `--guide-weights FILE`.

- Architecture: open_clip ViT, patch 8, width 128, 6 blocks ({image:.2f} M parameters); text tower width 128, 2 blocks,
  vocabulary of the first 6,000 byte-pair merges of CLIP's tokenizer ({text:.2f} M parameters). Stored as float16.
- Training: `scripts/train_armseg_tiny.py`, {steps} steps of {batch} crops, seed {seed}, {scenes} simulated scenes
  (`armseg simulate`, seed 7001), every sensor rendered as an image; image-caption and patch-class-name contrastive losses.
- License: Apache-2.0, like the project. No third-party data.

Measured on {held_out} held-out simulated scenes (seed 7002) at 160x128; captions name the modality and up to six classes,
{distinct} distinct ones per modality. Retrieval is image to caption among the captions of that modality:

| modality | modality accuracy | retrieval @1 | retrieval @5 |
|---|---|---|---|
{table}

Chance is {chance_m:.1%} for the modality, about {chance_1:.1%} and {chance_5:.1%} for retrieval.
"""


def write_card(folder: Path, model, figures: dict, args: argparse.Namespace, scenes: int) -> None:
    image = sum(p.numel() for p in model.visual.parameters())
    total = sum(p.numel() for p in model.parameters())
    table = "\n".join(
        f"| {m} | {figures['modality_accuracy'][m]:.1%} | {figures['retrieval_at_1'][m]:.1%} | "
        f"{figures['retrieval_at_5'][m]:.1%} |"
        for m in NAMES
    )
    d = figures["distinct_captions"]
    (folder / "README.md").write_text(
        CARD.format(
            image=image / 1e6,
            text=(total - image) / 1e6,
            steps=args.steps,
            batch=args.batch_size,
            seed=args.seed,
            scenes=scenes,
            held_out=figures["scenes"],
            distinct=d,
            table=table,
            chance_m=1 / len(NAMES),
            chance_1=1 / d,
            chance_5=5 / d,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder with the simulated train/ and test/")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument(
        "--minutes", type=float, default=0, help="stop after that long all the same (0: never)"
    )
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, default=TINY_FOLDER)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels, names = load_split(args.work / "train", args.work)
    model, tokenizer = build_from_config(TINY_FOLDER / "open_clip_config.json")
    model.to(device).train()
    text_names = [f"a {n.replace('_', ' ')}." for n in names]
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    size = model.visual.image_size
    start = time.monotonic()
    for step in (bar := tqdm(range(args.steps), disable=None)):
        done = step / args.steps
        if args.minutes:  # the schedule follows whichever of steps and minutes is further
            done = max(done, (time.monotonic() - start) / (60 * args.minutes))
            if done >= 1:
                args.steps = step
                break
        for group in optimizer.param_groups:
            group["lr"] = (
                args.lr * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
            )
        pick = torch.from_numpy(
            rng.choice(len(images), args.batch_size, replace=len(images) < args.batch_size)
        )
        loss, contrast, patch = train_step(
            model, tokenizer, images[pick], labels[pick], names, text_names, rng, size, device, args.precision
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(contrast=f"{contrast:.3f}", patch=f"{patch:.3f}")
        if step % 50 == 0:
            print(
                f"step {step} contrast {contrast:.3f} patch {patch:.3f} {time.monotonic() - start:.0f} s",
                flush=True,
            )
    model.eval()
    state = {
        n: t.detach().cpu().half().contiguous() for n, t in model.state_dict().items() if n != "attn_mask"
    }
    args.out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(state, args.out / "model.safetensors")
    model.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)  # measure what is stored
    clip = LoadedClip(model, tokenizer, None)  # type: ignore[arg-type]
    held_images, held_labels, _ = load_split(args.work / "test", args.work)
    figures = measure(model, clip, held_images, held_labels, names, device)
    write_card(args.out, model, figures, args, len(images))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
