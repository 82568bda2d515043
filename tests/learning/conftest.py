"""What the tests of learning share."""

from __future__ import annotations

import pytest
from small_models import write_clip


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_clip(tmp_path_factory.mktemp("tiny_clip"), layers=2)
