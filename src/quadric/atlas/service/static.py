"""The files that the server may give: those an atlas lists, and those of its page.

    files = StaticFiles(Path("atlas"), page=bundle_folder("page"))
    files.find("pages/00000.arrow")         # a path inside the folder, or None

A request is looked up in a list of names and never joined to a path, and what a name leads to is
followed to its end before it is given: it has to lie in the folder. The page is always quadric's
own: an atlas that somebody else made may bring a script, and it could ask the live features
anything.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from quadric.atlas.contract import FILES, MANIFEST
from quadric.errors import QuadricError

PAGE = "index.html"
ASSETS = "assets"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".arrow": "application/vnd.apache.arrow.file",
}
"""What the answers are called; the machine's own table may say something else."""
COMPRESSED = (".html", ".js", ".css", ".json", ".svg")
"""Tables are not: a file of pages shrinks by a sixth and takes longer than it takes to send."""
LIVE = "x-quadric-live"
"""With atlas.json it says that the page may ask for ``api/capabilities``; static hosts do not."""
FOREVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
_HASHED = re.compile(r"assets/[^/]+-[A-Za-z0-9_-]{8}\.\w+")


class StaticFiles:
    """The files of one atlas folder and of its page, by the names that requests use."""

    def __init__(self, folder: Path, page: Path) -> None:
        """Args:
        folder: the atlas.
        page: the page that comes with quadric.

        Raises:
            QuadricError: the folder is no atlas, or its list of files cannot be read.
        """
        if not (folder / MANIFEST).is_file():
            raise QuadricError(
                f"{folder} is not an atlas: {MANIFEST} is missing; make one with quadric atlas "
                "build RUN --out DIR"
            )
        self.folder = folder.resolve()
        self.page = page.resolve()
        self._read_at: tuple[int, int] | None = None
        self._listed: frozenset[str] = frozenset()
        self._refresh()

    def find(self, name: str) -> Path | None:
        """Where a file lies, or None where there is none to give."""
        root = self._root(name)
        if root is None:
            return None
        try:
            path = (root / name).resolve(strict=True)
        except (OSError, ValueError):
            return None
        return path if path.is_relative_to(root) and path.is_file() else None

    def _root(self, name: str) -> Path | None:
        if name == PAGE or _is_asset(name):
            return self.page
        if name in (MANIFEST, FILES) or name in self._listing():
            return self.folder
        return None

    def _listing(self) -> frozenset[str]:
        """The names in files.arrow, read again when it was replaced by a newer atlas."""
        # It may be on its way; the names known until now are no less true than before.
        with suppress(QuadricError):
            self._refresh()
        return self._listed

    def _refresh(self) -> None:
        path = self.folder / FILES
        try:
            facts = path.stat()
        except OSError as error:
            raise QuadricError(f"cannot read {path}: {error.strerror}") from error
        at = facts.st_mtime_ns, facts.st_size
        if at != self._read_at:
            self._listed = frozenset(filter(is_plain, _names(path)))
            self._read_at = at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a file."""
        request = Request(scope)
        # Not the route's own parameter: its pattern overlooks a line break at the end.
        name = scope["path"].removeprefix("/") or PAGE
        path = self.find(name)
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no {name!r} in this atlas")
        answer = _answer(request, name, path)
        await answer(scope, receive, send)


def is_plain(name: str) -> bool:
    """Whether a name is a relative path without any step that leads elsewhere."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and "/".join(parts) == name
        and not any(part in (".", "..") for part in parts)
        and not any(sign in name for sign in "\\\0:")
    )


def _is_asset(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and parts[0] == ASSETS and is_plain(name)


def _names(path: Path) -> list[str]:
    import pyarrow

    try:
        with pyarrow.OSFile(str(path)) as file:
            return pyarrow.ipc.open_file(file).read_all()["path"].to_pylist()  # type: ignore[no-any-return]
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise QuadricError(f"{path} is not a list of files: make the atlas again") from error


def _answer(request: Request, name: str, path: Path) -> ASGIApp:
    facts = path.stat()
    headers = {
        "cache-control": FOREVER if _HASHED.fullmatch(name) else ASK_AGAIN,
        "etag": _tag(facts),
        **({LIVE: "1"} if name == MANIFEST else {}),
    }
    wanted = request.headers.get("if-none-match")
    if wanted is not None and headers["etag"] in (tag.strip() for tag in wanted.split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    suffix = path.suffix.lower()
    file = FileResponse(
        path,
        headers=headers,
        media_type=TYPES.get(suffix, "application/octet-stream"),
        stat_result=facts,
    )
    part = request.headers.get("range")
    if part is not None:
        _check_range(part, facts.st_size)
        # A range is one of the bytes on disk.
        return file
    return GZipMiddleware(file, compresslevel=6) if suffix in COMPRESSED else file


def _check_range(part: str, size: int) -> None:
    """Raise unless one range of bytes is asked for, and the file has it."""
    found = re.fullmatch(r"bytes=(\d{1,15})-(\d{1,15})?|bytes=-[1-9]\d{0,14}", part.strip())
    first, last = (found[1], found[2]) if found else (None, None)
    if not found or (first and last and int(first) > int(last)):
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"the range {part!r} is not one of bytes, as bytes=0-99"
        )
    if not size or int(first or 0) >= size:
        raise HTTPException(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"the file has {size} bytes, {part!r} lies outside",
            {"content-range": f"bytes */{size}"},
        )


def _tag(facts: os.stat_result) -> str:
    text = f"{facts.st_mtime_ns} {facts.st_size} {facts.st_ino}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
