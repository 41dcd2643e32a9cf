"""What the package offers, and that offering it costs nothing."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
from types import ModuleType
import quadric.activations as package
heavy = {"transformers", "datasets", "pyarrow", "numpy.f2py", "gguf", "torch"} & set(sys.modules)
assert not heavy, heavy
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
heavy = {"transformers", "datasets", "pyarrow", "gguf"} & set(sys.modules)
assert not heavy, heavy
for name in package.__all__:
    assert not isinstance(getattr(package, name), ModuleType), name
"""


def test_every_name_is_there_and_nothing_heavy_is_imported() -> None:
    # In a fresh process, and after importing every submodule, so that no name can mean a module.
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
