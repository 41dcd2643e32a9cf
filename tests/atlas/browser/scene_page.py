"""A page with the drawing code alone (web/tests/scene/harness.html), built for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "web"


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory, serve_static: Callable[[Path], str]) -> str:
    """The address of a page that offers the drawing code and nothing else."""
    folder = tmp_path_factory.mktemp("scene")
    config = ["--config", "tests/scene/harness.config.ts", "--logLevel", "error"]
    command = ["npx", "vite", "build", *config, "--outDir", str(folder), "--emptyOutDir"]
    built = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return serve_static(folder) + "harness.html"
