"""The seven operations as values: what to send, and how to read the answer. No I/O.

Source: Vercel's OpenAPI of `/v8/artifacts`; header and query names are those of the wire.
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
from hitrate.client._responses import is_page, metadata_of
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
    encoded_events,
)

Answer = TypeVar("Answer")

_ARTIFACTS = "/v8/artifacts"
_CI_MOST = 50
_TAG_MOST = 600
_DURATION_MOST = 10**15
_OTHER_OPERATIONS = ("status", "events")  # their addresses stand where a hash would
_JSON = {"accept": "application/json"}
_SENDS_JSON = {"content-type": "application/json"}
_SENDS_BYTES = {"content-type": "application/octet-stream"}
# Not packed on the way, so that the sizes told are the artifact's own.
_AS_IT_IS = {"accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and how to read its answer.

    `harmless`: done twice, it does no more than done once. `read`: from an answer whose status is
    2xx, or one of `also`, and whose body was read. `query`: what is asked beside the team.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | Content | None = None
    harmless: bool = True
    also: tuple[int, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        return not isinstance(self.content, Content) or self.content.repeatable

    def accepts(self, response: httpx.Response) -> bool:
        return response.is_success or (response.status_code in self.also and not is_page(response))


def record_events(events: Sequence[EventLike], options: EventOptions) -> Call[None]:
    check_names(options, EventOptions)
    return record_encoded(encoded_events(events), event_headers(options))


def event_headers(options: EventOptions) -> dict[str, str]:
    """Who records. Raises BadRequest for what the contract does not allow."""
    return {**_client_headers(options), **_headers({"x-ai-agent": options.get("x_ai_agent")})}


def record_encoded(body: bytes, headers: dict[str, str]) -> Call[None]:
    """`body` as `encoded_events` makes it, `headers` as `event_headers` does."""
    # Harmless: a batch that comes again, byte for byte, is taken for the same batch.
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
    tag = _text(options.get("x_artifact_tag"), "x_artifact_tag", _TAG_MOST)
    facts = {
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
        {**_JSON, **_SENDS_BYTES, **_headers(facts), **_client_headers(options)},
        content,
    )


def download(artifact_hash: str, options: DownloadOptions) -> Call[ArtifactMetadata]:
    """The answer's body is the artifact; `read` gives what its headers say of it."""
    check_names(options, DownloadOptions)
    headers = {**_AS_IT_IS, **_client_headers(options)}
    return Call("GET", _address(artifact_hash), metadata_of, headers)


def exists(artifact_hash: str, options: CallOptions) -> Call[ArtifactMetadata | None]:
    check_names(options, CallOptions)

    def read(response: httpx.Response) -> ArtifactMetadata | None:
        return metadata_of(response) if response.is_success else None

    return Call("HEAD", _address(artifact_hash), read, _AS_IT_IS, also=(404,))


def query(hashes: Sequence[str], options: CallOptions) -> Call[QueryResponse]:
    check_names(options, CallOptions)
    try:
        body = msgspec.json.encode({"hashes": msgspec.convert(hashes, list[str])})
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise BadRequest(f"hashes must be a list of strings: {error}.") from error
    return Call("POST", _ARTIFACTS, _read_query, {**_JSON, **_SENDS_JSON}, body)


def delete_all(options: CallOptions) -> Call[DeleteResponse]:
    check_names(options, CallOptions)
    # Done twice it would tell that there was nothing to delete.
    return Call("DELETE", _ARTIFACTS, _reader(DeleteResponse), _JSON, harmless=False)


def _reader(kind: type[Answer]) -> Callable[[httpx.Response], Answer]:
    def read(response: httpx.Response) -> Answer:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _strange(response, error) from error

    return read


def _read_query(response: httpx.Response) -> QueryResponse:
    try:
        items = msgspec.json.decode(response.content, type=dict[str, dict[str, Any] | None])
        return {artifact_hash: _info(item) for artifact_hash, item in items.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _strange(response, error) from error


def _info(item: dict[str, Any] | None) -> ArtifactInfo | ArtifactProblem | None:
    if item is None:
        return None
    if "error" in item:
        return msgspec.convert(item["error"], ArtifactProblem)
    return msgspec.convert(item, ArtifactInfo)


def _strange(response: httpx.Response, error: Exception) -> TransportError:
    return TransportError(
        f"{response.url.host} answered what is no answer of this API: {error}.",
        may_have_arrived=True,
        status=response.status_code,
    )


def _address(artifact_hash: object) -> str:
    try:
        # Nothing but points would be taken for a step in the path.
        if isinstance(artifact_hash, str) and artifact_hash.strip("."):
            path = f"{_ARTIFACTS}/{quote(artifact_hash, safe='')}"
            if artifact_hash not in _OTHER_OPERATIONS:
                return path
    except UnicodeEncodeError:
        pass
    raise BadRequest(f"{artifact_hash!r} cannot be the hash of an artifact.")


def _client_headers(options: ClientOptions) -> dict[str, str]:
    ci = _text(options.get("x_artifact_client_ci"), "x_artifact_client_ci", _CI_MOST)
    interactive = options.get("x_artifact_client_interactive")
    if interactive not in (None, 0, 1):
        raise BadRequest(f"x_artifact_client_interactive must be 0 or 1, not {interactive!r}.")
    flag = None if interactive is None else int(interactive)
    return _headers({"x-artifact-client-ci": ci, "x-artifact-client-interactive": flag})


def _text(value: object, name: str, most: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a text, not {value!r}.")
    if len(value) > most:
        raise BadRequest(f"{name} has {len(value)} characters; at most {most} are allowed.")
    return value


def _duration(value: object) -> str | None:
    """Decimal, never with an exponent; to the nanosecond."""
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if not 0 <= number < _DURATION_MOST:
        raise BadRequest(f"x_artifact_duration must be a number of milliseconds, not {value!r}.")
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _headers(values: Mapping[str, str | int | None]) -> dict[str, str]:
    headers = {name: str(value) for name, value in values.items() if value is not None}
    for name, text in headers.items():
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise BadRequest(
                f"{name} must be printable ASCII, without blanks around, not {text[:60]!a}."
            )
    return headers
