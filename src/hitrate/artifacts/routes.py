"""The artifact operations of the contract, all hot routes."""

import asyncio
from typing import Annotated, BinaryIO, Protocol

import msgspec
from msgspec import Meta

from hitrate.artifacts.blobs import BlobWriter
from hitrate.artifacts.headers import UploadMetadata, hash_from_path, metadata_headers
from hitrate.artifacts.models import Artifact, ArtifactKey, validate_hash
from hitrate.artifacts.store import ArtifactStore
from hitrate.auth.models import AuthContext, Permission
from hitrate.auth.routes import AnyRoute, PublicRoute, Route
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
"""A body up to this size is held in memory, and written and flushed with its neighbours'."""

WRITE_CHUNK_BYTES = 1024 * 1024
"""A larger one is written and flushed by a thread of its own, in pieces of this size."""

MAX_QUERY_HASHES = 10_000

_OCTETS: Header = (b"content-type", b"application/octet-stream")
_MISS = error_response(NotFound("There is no artifact with this hash in this team's cache."))

PREFLIGHT = Response(
    200,
    b"",
    (
        # By name: the client sends its token only if `authorization` is listed, `*` is not enough.
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
    """The body of artifactQuery."""

    hashes: Annotated[list[str], Meta(max_length=MAX_QUERY_HASHES)]


class Found(msgspec.Struct, rename="camel", omit_defaults=True):
    """What artifactQuery says of an artifact that is there."""

    size: int
    task_duration_ms: int | float
    tag: str | None = None


class Problem(msgspec.Struct):
    message: str


class QueryError(msgspec.Struct):
    """What artifactQuery says of a hash that cannot be one."""

    error: Problem


class TransferCounts(Protocol):
    """Hears of what was stored and sent: team, token, client, bytes."""

    def uploaded(
        self, team_id: str, token_id: str, client: ClientInfo, size_bytes: int
    ) -> None: ...
    def downloaded(
        self, team_id: str, token_id: str, client: ClientInfo, size_bytes: int
    ) -> None: ...


_query_decoder = msgspec.json.Decoder(ArtifactQuery)


class ArtifactRoutes:
    """The seven operations but recordEvents, and the preflight."""

    def __init__(
        self,
        store: ArtifactStore,
        quotas: QuotaEnforcer,
        metrics: Metrics,
        clock: Clock,
        *,
        max_artifact_bytes: int,
        max_body_bytes: int,
        transfers: TransferCounts,
    ) -> None:
        self._transfers = transfers
        self._store = store
        self._quotas = quotas
        self._metrics = metrics
        self._clock = clock
        self._max_artifact_bytes = max_artifact_bytes
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[AnyRoute]:
        """The artifact operations of `/v8/artifacts`, and the CORS preflights of all of them."""
        base, one = "/v8/artifacts", "/v8/artifacts/{hash}"
        preflights = [
            PublicRoute("OPTIONS", path, "preflight", self.preflight)
            for path in (f"{base}/events", f"{base}/status", base, one)
        ]
        return [
            Route("GET", f"{base}/status", "status", Permission.STATUS, self.status),
            Route("GET", one, "downloadArtifact", Permission.READ, self.download),
            Route("HEAD", one, "artifactExists", Permission.READ, self.exists),
            Route("PUT", one, "uploadArtifact", Permission.WRITE, self.upload),
            Route("POST", base, "artifactQuery", Permission.READ, self.query),
            Route("DELETE", base, "deleteAllArtifacts", Permission.WRITE, self.delete_all),
            *preflights,
        ]

    async def preflight(self, _request: Request) -> Response:
        """Answer an OPTIONS request; the real one comes to the same address."""
        return PREFLIGHT

    async def status(self, _request: Request, auth: AuthContext) -> Response:
        """Whether Remote Caching is enabled for the token, and if not, why."""
        return Response(200, msgspec.json.encode({"status": self._quotas.status(auth)}))

    async def download(self, request: Request, auth: AuthContext) -> Response:
        """The artifact, straight from its file."""
        client = ClientInfo.from_headers(request)
        artifact = await self._find(request, auth)
        file = None if artifact is None else await self._file(artifact)
        if artifact is None or file is None:
            self._metrics.add("hitrate_artifact_misses")
            return _MISS
        self._metrics.add("hitrate_artifact_hits")
        self._metrics.add("hitrate_artifact_downloaded_bytes", artifact.size_bytes)
        self._transfers.downloaded(auth.team.id, auth.token_id, client, artifact.size_bytes)
        return Response(200, b"", _headers(artifact, request), file, artifact.size_bytes)

    async def exists(self, request: Request, auth: AuthContext) -> Response:
        """The headers of a download."""
        ClientInfo.from_headers(request)  # the contract has bad client headers refused here too
        artifact = await self._find(request, auth)
        if artifact is None:
            return Response(404, b"", _MISS.headers)
        return Response(200, b"", _headers(artifact, request))

    async def query(self, request: Request, auth: AuthContext) -> Response:
        """Size, duration and tag for each hash asked for."""
        body = await request.body(self._max_body_bytes)
        try:
            hashes = _query_decoder.decode(body).hashes
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(
                f'{error}. Send {{"hashes": [...]}} with at most {MAX_QUERY_HASHES} strings.'
            ) from error
        problems = {h: validate_hash(h) for h in hashes}
        sound = [h for h, problem in problems.items() if problem is None]
        found = await self._store.find_many(auth.team.id, sound)
        answer = {
            h: QueryError(Problem(problem)) if problem else _found(found.get(h))
            for h, problem in problems.items()
        }
        return Response(200, msgspec.json.encode(answer))

    async def delete_all(self, _request: Request, auth: AuthContext) -> Response:
        """Empty the team's cache."""
        count = await self._store.remove_team(auth.team.id)
        return Response(200, msgspec.json.encode({"deletedCount": count}))

    async def upload(self, request: Request, auth: AuthContext) -> Response:
        """Store an artifact, or replace it, body and metadata together.

        Flat memory whatever the size. Raises BadRequest, PayloadTooLarge or ServiceUnavailable;
        then nothing was stored and no trace is left.
        """
        artifact_hash = hash_from_path(request)
        metadata, client = UploadMetadata.from_headers(request), ClientInfo.from_headers(request)
        announced = self._announced(request)
        self._store.blobs.check_free_space(announced or 0)
        writer = await self._receive(request, auth.team.id, announced)
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
        body = msgspec.json.encode({"urls": [_url(request, artifact_hash)]})
        return Response(202, body, usage=Usage(uploaded_bytes=writer.size_bytes))

    async def _find(self, request: Request, auth: AuthContext) -> Artifact | None:
        return await self._store.find(ArtifactKey(auth.team.id, hash_from_path(request)))

    async def _file(self, artifact: Artifact) -> str | BinaryIO | None:
        """What is to be sent; None when it was removed in this moment."""
        path = self._store.blobs.path(artifact.key.team_id, artifact.blob)
        if artifact.size_bytes <= STREAM_CHUNK_BYTES:
            return path
        try:
            return await asyncio.to_thread(open, path, "rb", 0)
        except FileNotFoundError:
            return None

    def _announced(self, request: Request) -> int | None:
        announced = request.content_length()
        if announced is None and b"transfer-encoding" not in request.headers:
            raise BadRequest("Send Content-Length, or the body in chunks.")
        if announced is not None and announced > self._max_artifact_bytes:
            raise body_too_large(self._max_artifact_bytes, "--max-artifact-bytes")
        return announced

    async def _receive(self, request: Request, team_id: str, announced: int | None) -> BlobWriter:
        """A writer that has the whole body."""
        writer, pieces = self._store.blobs.writer(team_id), bytearray()
        size, more = 0, True
        try:
            while more:
                chunk, more = await request.read_chunk()
                size += len(chunk)
                if size > self._max_artifact_bytes:
                    raise body_too_large(self._max_artifact_bytes, "--max-artifact-bytes")
                pieces += chunk
                if len(pieces) >= WRITE_CHUNK_BYTES:
                    self._store.blobs.check_free_space(len(pieces))
                    await asyncio.to_thread(writer.write, pieces)
                    pieces = bytearray()
            _check_length(announced, size)
            if size <= MAX_BUFFERED_BYTES:
                writer.buffer(pieces)
            else:
                await asyncio.to_thread(_finish, writer, pieces)
        except BaseException:
            await asyncio.to_thread(writer.discard)
            raise
        return writer


def _finish(writer: BlobWriter, rest: bytearray) -> None:
    writer.write(rest)
    writer.sync_and_close()


def _check_length(announced: int | None, size: int) -> None:
    if announced is not None and announced != size:
        raise BadRequest(
            f"Content-Length says {announced} bytes, but {size} came; send the artifact again."
        )


def _headers(artifact: Artifact, request: Request) -> tuple[Header, ...]:
    # The SDK asks for JSON and refuses bytes that are labelled otherwise.
    accept = request.headers.get(b"accept", b"")
    label = JSON if b"application/json" in accept and b"*/*" not in accept else _OCTETS
    length = (b"content-length", b"%d" % artifact.size_bytes)
    return (label, length, *metadata_headers(artifact))


def _found(artifact: Artifact | None) -> Found | None:
    if artifact is None:
        return None
    duration = artifact.duration_ms or 0.0
    # `turbo` discards the whole answer if a duration that is whole does not look it.
    whole = int(duration) if duration.is_integer() else duration
    return Found(artifact.size_bytes, whole, artifact.tag)


def _url(request: Request, artifact_hash: str) -> str:
    path = f"/v8/artifacts/{artifact_hash}"
    host = request.text_header(b"host")
    return f"{request.scope['scheme']}://{host}{path}" if host else path
