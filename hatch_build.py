"""Puts the atlas' page into wheels and source distributions, so that installing needs no Node.

An editable install does without: ``make`` builds the page in a checkout.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface[Any]):
    """Runs web/build.py before the files are collected."""

    def dependencies(self) -> list[str]:
        """Node from PyPI, where the page has to be built and the machine has none."""
        web = self._web()
        needed = self._wanted(web) and not web.is_built() and web.find_node() is None
        return [web.PACKAGE] if needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page; hatchling then takes it along as an artifact."""
        del build_data
        web = self._web()
        if version != "editable" and self._wanted(web):
            web.build()

    def _wanted(self, web: ModuleType) -> bool:
        # A wheel made from a source distribution finds the page in it.
        return bool((web.WEB / "src").is_dir())

    def _web(self) -> ModuleType:
        path = Path(self.root) / "web" / "build.py"
        spec = importlib.util.spec_from_file_location("quadric_web_build", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
