"""Style sheets and scripts, linked by a hash of their content so that browsers cache them."""

from functools import cached_property
from hashlib import sha256
from importlib.resources import files

from litestar import Response

_CACHE_S = 365 * 86400


class StaticAsset:
    """A file in the `static` directory of a package, served at `path`."""

    def __init__(self, path: str, package: str, filename: str, media_type: str) -> None:
        self.path = path
        self._file = files(package).joinpath("static", filename)
        self._media_type = media_type

    @cached_property
    def url(self) -> str:
        """The URL for pages; it changes whenever the content does."""
        return f"{self.path}?v={sha256(self._content).hexdigest()[:12]}"

    def response(self) -> Response[bytes]:
        """Create a response that browsers may cache for a year."""
        headers = {
            "cache-control": f"public, max-age={_CACHE_S}, immutable",
            "x-content-type-options": "nosniff",
        }
        return Response(self._content, media_type=self._media_type, headers=headers)

    @cached_property
    def _content(self) -> bytes:
        return self._file.read_bytes()
