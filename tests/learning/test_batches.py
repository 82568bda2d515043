"""What training reads: batches that depend on seed and step alone, and data that cannot be trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_writer import write_folder_dataset
from toy_scenes import write_scenes

from armseg_core.config.training import TrainConfig
from armseg_core.data import open_dataset
from armseg_core.errors import ArmsegError, DataSetError, InputError, UsageError
from armseg_core.learning.batches import batches, crop_size, open_data, sampling_pools, statistics
from armseg_core.learning.losses import IGNORE

PLAIN = {"scale": (1.0, 1.0), "hflip": False, "photometric": False}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_dataset(tmp_path_factory.mktemp("toy"), modalities=("depth", "event"), size=(40, 48))


def same(a, b) -> bool:
    if (a.dataset, a.ids, list(a.sensors)) != (b.dataset, b.ids, list(b.sensors)):
        return False
    pairs = [(a.rgb, b.rgb), (a.label, b.label), *((a.sensors[m], b.sensors[m]) for m in a.sensors)]
    return all(torch.equal(x, y) for x, y in pairs)


def test_batches_are_homogeneous_and_shaped(toy: Path) -> None:
    config = TrainConfig(data=(toy,), modalities=("depth", "event"), steps=12, batch_size=3)
    found = list(batches(config, open_data(config)[0]))
    assert len(found) == 12
    assert {tuple(b.sensors) for b in found} == {("depth",), ("event",), ("depth", "event")}
    for b in found:
        assert (b.rgb.shape, b.rgb.dtype) == ((3, 3, 32, 32), torch.float32)
        assert (b.label.shape, b.label.dtype) == ((3, 32, 32), torch.int64)
        for name, frames in b.sensors.items():
            channels = {"depth": 3, "event": 5}[name]
            assert (frames.shape, frames.dtype) == ((3, channels, 32, 32), torch.float32)
        assert len(b.ids) == 3
        assert set(b.label.unique().tolist()) <= {0, 1, 2, IGNORE}


def test_the_batch_of_a_step_does_not_depend_on_where_training_began(toy: Path) -> None:
    config = TrainConfig(data=(toy,), modalities=("depth", "event"), steps=9, batch_size=2, seed=3)
    whole = list(batches(config, open_data(config)[0]))
    rest = list(batches(config, open_data(config)[0], start=5))
    assert len(rest) == 4
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))
    assert not same(whole[0], whole[1])
    other = next(batches(config.model_copy(update={"seed": 4}), open_data(config)[0]))
    assert not same(whole[0], other)


def test_making_batches_leaves_the_random_state_of_the_model_alone(toy: Path) -> None:
    config = TrainConfig(data=(toy,), modalities=("depth",), steps=2, batch_size=1)
    before = torch.get_rng_state()
    list(batches(config, open_data(config)[0]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(toy: Path) -> None:
    config = TrainConfig(data=(toy,), modalities=("depth", "event"), steps=3, batch_size=2)
    alone = list(batches(config, open_data(config)[0]))
    helped = list(batches(config.model_copy(update={"workers": 1}), open_data(config)[0]))
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_without_augmentation_a_batch_holds_the_samples_themselves(toy: Path) -> None:
    config = TrainConfig(data=(toy,), modalities=("depth",), steps=1, batch_size=4, crop=(40, 48), **PLAIN)
    datasets, _ = open_data(config)
    batch = next(batches(config, datasets))
    samples = [datasets[0].load(i) for i in range(4)]
    for k in range(4):
        match = next(s for s in samples if np.array_equal(s.rgb, batch.rgb[k].numpy()))
        assert np.array_equal(match.sensors["depth"], batch.sensors["depth"][k].numpy())
        assert np.array_equal(match.label, batch.label[k].numpy())


def test_the_data_sets_own_ignore_index_becomes_the_losses(tmp_path: Path) -> None:
    root = write_folder_dataset(tmp_path, modalities=(), size=(40, 48))
    toml = root / "dataset.toml"
    toml.write_text(
        toml.read_text()
        .replace("ignore_index = 255", "ignore_index = 2")
        .replace('path = "{id}/label.png"', 'path = "{id}/label.png"\nmap = { 255 = 0 }')
    )
    config = TrainConfig(data=(root,), modalities=(), steps=1, batch_size=4, crop=(40, 48), **PLAIN)
    label = next(batches(config, open_data(config)[0])).label
    assert set(label.unique().tolist()) == {0, 1, IGNORE}


@pytest.mark.parametrize(
    ("size", "crop"),
    [((128, 160), (128, 160)), ((1080, 1920), (512, 512)), ((100, 40), (96, 32)), ((20, 700), (32, 512))],
)
def test_default_crop(size, crop) -> None:
    assert crop_size(size) == crop


def test_pools_hold_the_samples_with_each_sensor(tmp_path: Path) -> None:
    whole = open_dataset(write_scenes(tmp_path / "whole", {"train": 3}), "train")
    assert sampling_pools(whole) == {("depth",): [0, 1, 2]}
    partly = open_dataset(
        write_scenes(tmp_path / "partly", {"train": 4}, without_depth=("train1", "train3")), "train"
    )
    assert sampling_pools(partly) == {("depth",): [0, 2], (): [1, 3]}  # none is left out
    assert sampling_pools(open_dataset(tmp_path / "partly", "train", ())) == {(): [0, 1, 2, 3]}


def test_samples_without_a_sensor_are_trained_on_as_rgb(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"train": 4}, without_depth=("train1", "train2", "train3"))
    config = TrainConfig(data=(root,), modalities=("depth",), steps=20, batch_size=1, crop=(40, 48), **PLAIN)
    datasets, validation = open_data(config)
    assert validation == []
    seen = {batch.rgb.numpy().tobytes() for batch in batches(config, datasets)}
    assert seen == {datasets[0].load(i).rgb.tobytes() for i in range(4)}


def test_several_sensors_of_a_batch_are_those_of_its_samples_and_change_alike(toy: Path) -> None:
    """One augmentation for all: the same crop, flip and scale."""
    config = TrainConfig(
        data=(toy,), modalities=("depth", "event"), steps=6, batch_size=2, all_sensors=1.0, seed=1
    )
    datasets, _ = open_data(config)
    row = open_dataset(toy, "train")
    plain = config.model_copy(update={"scale": (1.0, 1.0), "hflip": True, "photometric": False})
    flipped = set()
    for batch in batches(plain.model_copy(update={"crop": (40, 48)}), datasets):
        assert list(batch.sensors) == ["depth", "event"]
        for k, sample_id in enumerate(batch.ids):
            sample = row.load(row.ids.index(sample_id))
            flip = not np.array_equal(batch.rgb[k].numpy(), sample.rgb)
            flipped.add(flip)
            axis = slice(None, None, -1 if flip else 1)
            assert np.array_equal(batch.rgb[k].numpy(), sample.rgb[..., axis])
            assert np.array_equal(batch.label[k].numpy(), sample.label[..., axis])
            for m, frames in batch.sensors.items():
                assert np.array_equal(frames[k].numpy(), sample.sensors[m][..., axis]), m
    assert flipped == {True, False}


def test_statistics_by_hand(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"train": 5}, without_depth=("train2",))
    dataset = open_dataset(root, "train")
    pixels = np.concatenate([dataset.load(i).sensors["depth"].reshape(3, -1) for i in (0, 1, 3, 4)], axis=1)
    mean, std = statistics([dataset], "depth")
    assert mean.tolist() == pytest.approx(pixels.mean(1).tolist(), rel=0.02)
    assert std.tolist() == pytest.approx(pixels.std(1).tolist(), rel=0.02, abs=1e-6)


# -- data that cannot be trained on


def refuse(kind: type[ArmsegError], match: str, **options) -> None:
    with pytest.raises(kind, match=match) as caught:
        open_data(TrainConfig(**options))
    assert "\n" not in str(caught.value)


def test_data_that_is_not_there(tmp_path: Path, toy: Path) -> None:
    refuse(UsageError, "no data set given.*armseg train DATA")
    refuse(InputError, "no such folder", data=(tmp_path / "nothing",))
    refuse(DataSetError, "not a data set", data=(tmp_path,))
    refuse(
        UsageError,
        "no training sample has thermal.*some of depth, event.*armseg check",
        data=(toy,),
        modalities=("depth", "thermal"),
    )


def test_a_sensor_without_a_single_file(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"train": 2}, without_depth=("train0", "train1"))
    refuse(UsageError, "no training sample has depth", data=(root,), modalities=("depth",))


def test_two_data_sets_of_one_name(tmp_path: Path) -> None:
    folders = tuple(write_scenes(tmp_path / name, {"train": 2}) for name in "ab")
    refuse(DataSetError, "two data sets are called 'scenes'", data=folders, modalities=("depth",))


def test_only_some_data_sets_with_a_validation_split(tmp_path: Path) -> None:
    a = write_scenes(tmp_path / "a", {"train": 2}, name="a")
    b = write_scenes(tmp_path / "b", {"train": 2, "val": 1}, name="b")
    refuse(DataSetError, "some data sets have a 'val' split", data=(a, b), modalities=("depth",))


def test_more_classes_than_a_mask_can_hold(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"train": 2})
    more = "".join(f'[[classes]]\nname = "class {i}"\n' for i in range(254))
    toml = root / "dataset.toml"
    toml.write_text(toml.read_text().replace("[rgb]", more + "[rgb]"))
    refuse(DataSetError, "256 classes.*at most 255", data=(root,), modalities=("depth",))


def test_a_training_sample_without_a_label(tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"train": 2})
    (root / "label" / "train1.png").unlink()
    config = TrainConfig(data=(root,), modalities=("depth",), steps=4, batch_size=2)
    with pytest.raises(DataSetError, match="train1: training sample has no label"):
        list(batches(config, open_data(config)[0]))
