"""The seven operations as values: the request, and how to read the response. No I/O.

Source: Vercel's OpenAPI document of `/v8/artifacts`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from hitrate.client._content import AsyncUploadable, Content
from hitrate.client._options import (
    CallOptions,
    ClientOptions,
    DownloadOptions,
    EventOptions,
    UploadOptions,
    check_names,
)
from hitrate.client._responses import is_html, metadata_from_headers
from hitrate.client.errors import BadRequest, TransportError
from hitrate.client.models import (
    ArtifactInfo,
    ArtifactMetadata,
    ArtifactProblem,
    DeleteResponse,
    EventLike,
    QueryResponse,
    StatusResponse,
    UploadResponse,
    encode_events,
)

ResponseT = TypeVar("ResponseT")

_ARTIFACTS = "/v8/artifacts"
_MAX_CI_LENGTH = 50
_MAX_TAG_LENGTH = 600
_MAX_DURATION_MS = 10**15
_RESERVED_NAMES = ("status", "events")  # paths that would otherwise be hashes
_JSON = {"accept": "application/json"}
_SENDS_JSON = {"content-type": "application/json"}
_SENDS_BYTES = {"content-type": "application/octet-stream"}
# Without compression, so that Content-Length is the size of the artifact.
_UNENCODED = {"accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Call(Generic[ResponseT]):
    """One request, and how to read its response.

    `read` gets a response whose status is 2xx or one of `ok_statuses`, and whose body was read.
    `idempotent`: processing it twice has the same effect as once. `query`: parameters besides the
    team.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], ResponseT]
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | Content | None = None
    idempotent: bool = True
    ok_statuses: tuple[int, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        return not isinstance(self.content, Content) or self.content.repeatable

    def accepts(self, response: httpx.Response) -> bool:
        return response.is_success or (
            response.status_code in self.ok_statuses and not is_html(response)
        )


def record_events(events: Sequence[EventLike], options: EventOptions) -> Call[None]:
    check_names(options, EventOptions)
    return record_encoded(encode_events(events), event_headers(options))


def event_headers(options: EventOptions) -> dict[str, str]:
    """Return the headers that describe the client. Raises BadRequest for invalid values."""
    return {**_client_headers(options), **_headers({"x-ai-agent": options.get("x_ai_agent")})}


def record_encoded(body: bytes, headers: dict[str, str]) -> Call[None]:
    """Record a body from `encode_events`, with headers from `event_headers`."""
    # Idempotent: the server counts a batch that is re-sent byte for byte once.
    return Call(
        "POST",
        f"{_ARTIFACTS}/events",
        lambda _response: None,
        {"accept": "*/*", **_SENDS_JSON, **headers},
        body,
    )


def status(options: CallOptions) -> Call[StatusResponse]:
    check_names(options, CallOptions)
    return Call("GET", f"{_ARTIFACTS}/status", _reader(StatusResponse), _JSON)


def upload(
    artifact_hash: str, source: AsyncUploadable, options: UploadOptions
) -> Call[UploadResponse]:
    check_names(options, UploadOptions)
    content = Content(source, options.get("content_length"), options.get("progress"))
    tag = _text(options.get("x_artifact_tag"), "x_artifact_tag", _MAX_TAG_LENGTH)
    headers = {
        "content-length": content.length,
        "x-artifact-duration": _duration(options.get("x_artifact_duration")),
        "x-artifact-tag": tag,
        "x-artifact-sha": options.get("x_artifact_sha"),
        "x-artifact-dirty-hash": options.get("x_artifact_dirty_hash"),
    }
    return Call(
        "PUT",
        _address(artifact_hash),
        _reader(UploadResponse),
        {**_JSON, **_SENDS_BYTES, **_headers(headers), **_client_headers(options)},
        content,
    )


def download(artifact_hash: str, options: DownloadOptions) -> Call[ArtifactMetadata]:
    """Download an artifact. The response body is the artifact; `read` returns its metadata."""
    check_names(options, DownloadOptions)
    headers = {**_UNENCODED, **_client_headers(options)}
    return Call("GET", _address(artifact_hash), metadata_from_headers, headers)


def exists(artifact_hash: str, options: CallOptions) -> Call[ArtifactMetadata | None]:
    check_names(options, CallOptions)

    def read(response: httpx.Response) -> ArtifactMetadata | None:
        return metadata_from_headers(response) if response.is_success else None

    return Call("HEAD", _address(artifact_hash), read, _UNENCODED, ok_statuses=(404,))


def query(hashes: Sequence[str], options: CallOptions) -> Call[QueryResponse]:
    check_names(options, CallOptions)
    try:
        body = msgspec.json.encode({"hashes": msgspec.convert(hashes, list[str])})
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise BadRequest(f"hashes must be a list of strings: {error}.") from error
    return Call("POST", _ARTIFACTS, _read_query, {**_JSON, **_SENDS_JSON}, body)


def delete_all(options: CallOptions) -> Call[DeleteResponse]:
    check_names(options, CallOptions)
    # Not idempotent: the second response would say that nothing was deleted.
    return Call("DELETE", _ARTIFACTS, _reader(DeleteResponse), _JSON, idempotent=False)


def _reader(kind: type[ResponseT]) -> Callable[[httpx.Response], ResponseT]:
    def read(response: httpx.Response) -> ResponseT:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unexpected_response(response, error) from error

    return read


def _read_query(response: httpx.Response) -> QueryResponse:
    try:
        items = msgspec.json.decode(response.content, type=dict[str, dict[str, Any] | None])
        return {artifact_hash: _info(item) for artifact_hash, item in items.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unexpected_response(response, error) from error


def _info(item: dict[str, Any] | None) -> ArtifactInfo | ArtifactProblem | None:
    if item is None:
        return None
    if "error" in item:
        return msgspec.convert(item["error"], ArtifactProblem)
    return msgspec.convert(item, ArtifactInfo)


def _unexpected_response(response: httpx.Response, error: Exception) -> TransportError:
    return TransportError(
        f"{response.url.host} sent an invalid response: {error}.",
        may_have_arrived=True,
        status=response.status_code,
    )


def _address(artifact_hash: object) -> str:
    try:
        # A name of dots alone would be taken for a path segment.
        if isinstance(artifact_hash, str) and artifact_hash.strip("."):
            path = f"{_ARTIFACTS}/{quote(artifact_hash, safe='')}"
            if artifact_hash not in _RESERVED_NAMES:
                return path
    except UnicodeEncodeError:
        pass
    raise BadRequest(f"{artifact_hash!r} cannot be the hash of an artifact.")


def _client_headers(options: ClientOptions) -> dict[str, str]:
    ci = _text(options.get("x_artifact_client_ci"), "x_artifact_client_ci", _MAX_CI_LENGTH)
    interactive = options.get("x_artifact_client_interactive")
    if interactive not in (None, 0, 1):
        raise BadRequest(f"x_artifact_client_interactive must be 0 or 1, not {interactive!r}.")
    flag = None if interactive is None else int(interactive)
    return _headers({"x-artifact-client-ci": ci, "x-artifact-client-interactive": flag})


def _text(value: object, name: str, max_length: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string, not {value!r}.")
    if len(value) > max_length:
        raise BadRequest(f"{name} has {len(value)} characters; at most {max_length} are allowed.")
    return value


def _duration(value: object) -> str | None:
    """Return decimal milliseconds without an exponent, to the nanosecond."""
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if not 0 <= number < _MAX_DURATION_MS:
        raise BadRequest(f"x_artifact_duration must be a number of milliseconds, not {value!r}.")
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _headers(values: Mapping[str, str | int | None]) -> dict[str, str]:
    headers = {name: str(value) for name, value in values.items() if value is not None}
    for name, text in headers.items():
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise BadRequest(
                f"{name} must be printable ASCII, without surrounding spaces, not {text[:60]!a}."
            )
    return headers
