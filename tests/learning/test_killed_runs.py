"""Trainings and folder conversions ended at random moments: nothing is lost, half-written or left over."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if not hasattr(os, "fork") or sys.platform != "linux":
    pytest.skip("needs fork and signals", allow_module_level=True)

from kill_runs import SIGNALS, kill_conversions, kill_trainings


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_a_training_ended_at_random_moments_ends_as_if_undisturbed(tmp_path: Path, name: str) -> None:
    found = kill_trainings(tmp_path, SIGNALS[name], moments=4, seed=1, steps=16)
    assert found.problems == []
    assert found.at_work >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_a_conversion_ended_at_random_moments_ends_as_if_undisturbed(tmp_path: Path, name: str) -> None:
    found = kill_conversions(tmp_path, SIGNALS[name], moments=3, seed=1)
    assert found.problems == []
    assert found.at_work >= 1
