"""The artifact operations of the Remote Cache API, on the router's hot path."""

import asyncio
from typing import Annotated, BinaryIO, Protocol

import msgspec
from msgspec import Meta

from hitrate.artifacts.blobs import BlobWriter
from hitrate.artifacts.headers import UploadMetadata, hash_from_path, metadata_headers
from hitrate.artifacts.models import Artifact, ArtifactKey, validate_hash
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.models import AuthContext, Permission
from hitrate.auth.route_types import AnyRoute, PublicRoute, Route
from hitrate.billing.quotas import QuotaEnforcer
from hitrate.clock import Clock
from hitrate.errors import BadRequest, NotFound
from hitrate.http.asgi import (
    JSON,
    STREAM_CHUNK_BYTES,
    Header,
    Request,
    Response,
    Usage,
    body_too_large,
)
from hitrate.http.client_info import ClientInfo
from hitrate.http.errors import error_response
from hitrate.metrics import Metrics

MAX_BUFFERED_BYTES = 256 * 1024
"""A body up to this size is buffered in memory, then written and flushed with others."""

WRITE_CHUNK_BYTES = 1024 * 1024
"""A larger body is written to its own file in chunks of this size, on a worker thread."""

MAX_QUERY_HASHES = 10_000

_OCTET_STREAM: Header = (b"content-type", b"application/octet-stream")
_MISS = error_response(NotFound("There is no artifact with this hash in this team's cache."))

PREFLIGHT = Response(
    200,
    b"",
    (
        # `*` does not cover `authorization`: clients send the token only if it is listed by name.
        (
            b"access-control-allow-headers",
            (
                b"Authorization, Content-Type, User-Agent, x-artifact-duration, x-artifact-tag, "
                b"x-artifact-sha, x-artifact-dirty-hash, x-artifact-client-ci, "
                b"x-artifact-client-interactive"
            ),
        ),
        (b"access-control-allow-methods", b"GET, HEAD, PUT, POST, DELETE, OPTIONS"),
    ),
)


class ArtifactQuery(msgspec.Struct):
    """Request body of artifactQuery."""

    hashes: Annotated[list[str], Meta(max_length=MAX_QUERY_HASHES)]


class QueryHit(msgspec.Struct, rename="camel", omit_defaults=True):
    """Entry of an artifactQuery response for an artifact that exists."""

    size: int
    task_duration_ms: int | float
    tag: str | None = None


class ErrorMessage(msgspec.Struct):
    """Why a hash is invalid."""

    message: str


class QueryError(msgspec.Struct):
    """Entry of an artifactQuery response for an invalid hash."""

    error: ErrorMessage


class TransferRecorder(Protocol):
    """Counts uploads and downloads, by team, token and client."""

    def uploaded(
        self, team_id: str, token_id: str, client: ClientInfo, size_bytes: int
    ) -> None: ...
    def downloaded(
        self, team_id: str, token_id: str, client: ClientInfo, size_bytes: int
    ) -> None: ...


_query_decoder = msgspec.json.Decoder(ArtifactQuery)


class ArtifactRoutes:
    """Handlers of all artifact operations except recordEvents, and of CORS preflights."""

    def __init__(
        self,
        store: ArtifactStore,
        quotas: QuotaEnforcer,
        metrics: Metrics,
        clock: Clock,
        *,
        max_artifact_bytes: int,
        max_body_bytes: int,
        transfers: TransferRecorder,
        public_url: str = "",
    ) -> None:
        """`public_url` is the configured URL of the server, if any."""
        self._public_url = public_url
        self._transfers = transfers
        self._store = store
        self._quotas = quotas
        self._metrics = metrics
        self._clock = clock
        self._max_artifact_bytes = max_artifact_bytes
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[AnyRoute]:
        """List the routes below `/v8/artifacts`; the preflights include that of recordEvents."""
        base, item = "/v8/artifacts", "/v8/artifacts/{hash}"
        preflights = [
            PublicRoute("OPTIONS", path, "preflight", self.preflight)
            for path in (f"{base}/events", f"{base}/status", base, item)
        ]
        return [
            Route("GET", f"{base}/status", "status", Permission.STATUS, self.status),
            Route("GET", item, "downloadArtifact", Permission.READ, self.download),
            Route("HEAD", item, "artifactExists", Permission.READ, self.exists),
            Route("PUT", item, "uploadArtifact", Permission.WRITE, self.upload),
            Route("POST", base, "artifactQuery", Permission.READ, self.query),
            Route("DELETE", base, "deleteAllArtifacts", Permission.WRITE, self.delete_all),
            *preflights,
        ]

    async def preflight(self, _request: Request) -> Response:
        """Respond to a CORS preflight request."""
        return PREFLIGHT

    async def status(self, _request: Request, auth: AuthContext) -> Response:
        """Return whether Remote Caching is enabled for the token's team, and if not, why."""
        return Response(200, msgspec.json.encode({"status": self._quotas.status(auth)}))

    async def download(self, request: Request, auth: AuthContext) -> Response:
        """Send the artifact from its file."""
        client = ClientInfo.from_headers(request)
        artifact = await self._find(request, auth)
        file = None if artifact is None else await self._body_file(artifact)
        if artifact is None or file is None:
            self._metrics.add("hitrate_artifact_misses")
            return _MISS
        self._metrics.add("hitrate_artifact_hits")
        self._metrics.add("hitrate_artifact_downloaded_bytes", artifact.size_bytes)
        self._transfers.downloaded(auth.team.id, auth.token_id, client, artifact.size_bytes)
        return Response(200, b"", _headers(artifact, request), file, artifact.size_bytes)

    async def exists(self, request: Request, auth: AuthContext) -> Response:
        """Send the headers of a download, without a body."""
        ClientInfo.from_headers(request)  # validates: the API rejects bad client headers here, too
        artifact = await self._find(request, auth)
        if artifact is None:
            return Response(404, b"", _MISS.headers)
        return Response(200, b"", _headers(artifact, request))

    async def query(self, request: Request, auth: AuthContext) -> Response:
        """Return size, duration and tag for each requested hash."""
        body = await request.body(self._max_body_bytes)
        try:
            hashes = _query_decoder.decode(body).hashes
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(
                f'{error}. Send {{"hashes": [...]}} with at most {MAX_QUERY_HASHES} strings.'
            ) from error
        errors = {h: validate_hash(h) for h in hashes}
        valid = [h for h, error in errors.items() if error is None]
        artifacts = await self._store.find_many(auth.team.id, valid)
        results = {
            h: QueryError(ErrorMessage(error)) if error else _query_hit(artifacts.get(h))
            for h, error in errors.items()
        }
        return Response(200, msgspec.json.encode(results))

    async def delete_all(self, _request: Request, auth: AuthContext) -> Response:
        """Delete all artifacts of the team."""
        count = await self._store.remove_team(auth.team.id)
        return Response(200, msgspec.json.encode({"deletedCount": count}))

    async def upload(self, request: Request, auth: AuthContext) -> Response:
        """Store or replace an artifact, body and metadata atomically.

        Memory use does not depend on the size. Raises BadRequest, PayloadTooLarge or
        ServiceUnavailable; then nothing is stored and no file is left.
        """
        artifact_hash = hash_from_path(request)
        metadata, client = UploadMetadata.from_headers(request), ClientInfo.from_headers(request)
        content_length = self._checked_content_length(request)
        self._store.blobs.check_free_space(content_length or 0)
        writer = await self._receive(request, auth.team.id, content_length)
        artifact = Artifact(
            key=ArtifactKey(auth.team.id, artifact_hash),
            blob=writer.blob,
            size_bytes=writer.size_bytes,
            duration_ms=metadata.duration_ms,
            tag=metadata.tag,
            sha=metadata.sha,
            dirty_hash=metadata.dirty_hash,
            ci=client.ci,
            interactive=client.interactive,
            agent=client.agent,
            token_id=auth.token_id,
            created_at_ms=self._clock.now_ms(),
        )
        await self._store.put(artifact, writer)
        self._metrics.add("hitrate_artifact_uploaded_bytes", writer.size_bytes)
        self._transfers.uploaded(auth.team.id, auth.token_id, client, writer.size_bytes)
        body = msgspec.json.encode({"urls": [self._url(request, artifact_hash)]})
        return Response(202, body, usage=Usage(uploaded_bytes=writer.size_bytes))

    def _url(self, request: Request, artifact_hash: str) -> str:
        path = f"/v8/artifacts/{artifact_hash}"
        if self._public_url:
            return self._public_url + path
        host = request.text_header(b"host")
        return f"{request.scope['scheme']}://{host}{path}" if host else path

    async def _find(self, request: Request, auth: AuthContext) -> Artifact | None:
        return await self._store.find(ArtifactKey(auth.team.id, hash_from_path(request)))

    async def _body_file(self, artifact: Artifact) -> str | BinaryIO | None:
        """Return a small body's path or a large body's open file; None if it was just removed."""
        path = self._store.blobs.path(artifact.key.team_id, artifact.blob)
        if artifact.size_bytes <= STREAM_CHUNK_BYTES:
            return path
        try:
            return await asyncio.to_thread(open, path, "rb", 0)
        except FileNotFoundError:
            return None

    def _checked_content_length(self, request: Request) -> int | None:
        """Return the Content-Length, None for a chunked body.

        Raises BadRequest or PayloadTooLarge.
        """
        content_length = request.content_length()
        if content_length is None and b"transfer-encoding" not in request.headers:
            raise BadRequest("Send a Content-Length header, or a chunked body.")
        if content_length is not None and content_length > self._max_artifact_bytes:
            raise body_too_large(self._max_artifact_bytes, "--max-artifact-bytes")
        return content_length

    async def _receive(
        self, request: Request, team_id: str, content_length: int | None
    ) -> BlobWriter:
        """Receive the body into a new blob writer, which is discarded on any error."""
        writer, buffer = self._store.blobs.writer(team_id), bytearray()
        size, more = 0, True
        try:
            while more:
                chunk, more = await request.read_chunk()
                size += len(chunk)
                if size > self._max_artifact_bytes:
                    raise body_too_large(self._max_artifact_bytes, "--max-artifact-bytes")
                buffer += chunk
                if len(buffer) >= WRITE_CHUNK_BYTES:
                    self._store.blobs.check_free_space(len(buffer))
                    await asyncio.to_thread(writer.write, buffer)
                    buffer = bytearray()
            _check_size(content_length, size)
            if size <= MAX_BUFFERED_BYTES:
                writer.buffer(buffer)
            else:
                await asyncio.to_thread(_write_and_sync, writer, buffer)
        except BaseException:
            await asyncio.to_thread(writer.discard)
            raise
        return writer


def _write_and_sync(writer: BlobWriter, rest: bytearray) -> None:
    writer.write(rest)
    writer.sync_and_close()


def _check_size(content_length: int | None, size: int) -> None:
    if content_length is not None and content_length != size:
        raise BadRequest(
            f"Content-Length is {content_length}, but the body has {size} bytes; "
            "send the artifact again."
        )


def _headers(artifact: Artifact, request: Request) -> tuple[Header, ...]:
    # The Vercel SDK accepts JSON only and rejects a body with another content type.
    accept = request.headers.get(b"accept", b"")
    json_only = b"application/json" in accept and b"*/*" not in accept
    content_type = JSON if json_only else _OCTET_STREAM
    content_length = (b"content-length", b"%d" % artifact.size_bytes)
    return (content_type, content_length, *metadata_headers(artifact))


def _query_hit(artifact: Artifact | None) -> QueryHit | None:
    if artifact is None:
        return None
    duration = artifact.duration_ms or 0.0
    # `turbo` parses an integer: it discards the whole response if 400 is written as 400.0.
    number = int(duration) if duration.is_integer() else duration
    return QueryHit(artifact.size_bytes, number, artifact.tag)
