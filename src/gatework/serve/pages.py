"""The service's own pages: plain files of the package, which ask nothing of any other server."""

from __future__ import annotations

import mimetypes
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException

__all__ = ["add_pages"]

# Nothing is loaded, asked or run but what this service itself gives.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html", ".css": "text/css"}
_FOLDERS = {
    "": "gatework.serve",
    "inspect/": "gatework.inspect",
}  # of /page/: the package with a folder `page`


class Page:
    """A file and what it is."""

    def __init__(self, name: str, content: bytes) -> None:
        suffix = name[name.rfind(".") :]
        self.content = content
        self.kind = _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"

    def response(self) -> Response:
        """As it is sent."""
        return Response(self.content, headers=_HEADERS, media_type=self.kind)


def _pages_of(folder: Traversable, prefix: str) -> dict[str, Page]:
    found: dict[str, Page] = {}
    for each in folder.iterdir():
        name = f"{prefix}{each.name}"
        if each.is_dir():
            found |= _pages_of(each, f"{name}/")
        else:
            found[name] = Page(name, each.read_bytes())
    return found


def read_pages() -> dict[str, Page]:
    """Every file of the pages by its name below /page/: a request looks one up, and opens none."""
    found: dict[str, Page] = {}
    for prefix, package in _FOLDERS.items():
        folder = files(package) / "page"
        if folder.is_dir():
            found |= _pages_of(folder, prefix)
    return found


def add_pages(app: FastAPI) -> None:
    """The routes `/`, `/docs` and `/page/…`."""
    pages = read_pages()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return pages["index.html"].response()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return pages["docs.html"].response()

    @app.get("/page/{name:path}", include_in_schema=False)
    async def page(name: str) -> Response:
        if name not in pages:
            raise HTTPException(404)
        return pages[name].response()
