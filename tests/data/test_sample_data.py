"""Sample data: the repository's, else the same scenes simulated into the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import REPOSITORY

from armseg_core.data import open_dataset
from armseg_core.data import sample_data as module
from armseg_core.errors import ArmsegWarning, OutputError


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As installed from a wheel: no repository around the package, an empty cache, and few small scenes."""
    monkeypatch.setattr(module, "repository_sample_data", lambda: None)
    monkeypatch.setattr(module, "SAMPLE_SCENES", module.SampleScenes(scenes=4, seed=7, size=(32, 48)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "armseg"


def test_in_the_repository_its_own_folder_is_used() -> None:
    assert module.sample_data_dir() == REPOSITORY / "sample_data"


def test_elsewhere_the_scenes_are_simulated_once_and_it_says_so(elsewhere: Path) -> None:
    with pytest.warns(ArmsegWarning, match=f"simulating 4 scenes into {elsewhere}"):
        folder = module.sample_data_dir()
    assert len(open_dataset(folder, "train")) >= 1
    assert [path.name for path in elsewhere.iterdir()] == [folder.name]
    assert module.sample_data_dir() == folder  # warnings are errors here: it is not made again


def test_an_interrupted_simulation_leaves_nothing(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import armseg_core.simulate

    def interrupted(out: Path, **parameters: object) -> None:
        (Path(out) / "dataset.toml").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(armseg_core.simulate, "simulate", interrupted)
    with pytest.warns(ArmsegWarning), pytest.raises(KeyboardInterrupt):
        module.sample_data_dir()
    assert list(elsewhere.iterdir()) == []
    assert module.cached_sample_data() is None


def test_a_cache_that_cannot_be_written_is_named(elsewhere: Path) -> None:
    elsewhere.parent.write_text("a file where the cache folder should be")
    with pytest.warns(ArmsegWarning), pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        module.sample_data_dir()


def test_the_committed_scenes_were_made_with_the_recorded_parameters() -> None:
    scenes = module.SAMPLE_SCENES
    command = (
        f"armseg simulate sample_data --scenes {scenes.scenes} --seed {scenes.seed} "
        f"--size {scenes.size[1]}x{scenes.size[0]}"
    )
    assert command in (REPOSITORY / "sample_data" / "README.md").read_text()
    held = [path for path in (REPOSITORY / "sample_data").iterdir() if (path / "scene.json").is_file()]
    assert len(held) == scenes.scenes


def test_the_committed_scenes_are_small() -> None:
    size = sum(path.stat().st_size for path in (REPOSITORY / "sample_data").rglob("*") if path.is_file())
    assert size <= 15e6
