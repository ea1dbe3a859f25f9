"""Python client of the `/v8/artifacts` API, for hitrate and for Vercel.

from hitrate.client import Event, Hitrate, RequestBody, Source

with Hitrate() as client:  # TURBO_API, TURBO_TOKEN and TURBO_TEAM, as for turbo
    client.artifacts.record_events(
        [RequestBody(session_id="…", source=Source.REMOTE, event=Event.HIT, hash="…")]
    )
"""

from hitrate.client._outbox import Counts
from hitrate.client.aio import AsyncArtifacts, AsyncDownload, AsyncHitrate
from hitrate.client.cached import CachedRun, Outcome, cached
from hitrate.client.errors import (
    BadRequest,
    Forbidden,
    HitrateError,
    NotFound,
    PaymentRequired,
    RateLimited,
    ServiceUnavailable,
    TransportError,
    Unauthorized,
)
from hitrate.client.models import (
    Artifact,
    ArtifactInfo,
    ArtifactMetadata,
    ArtifactProblem,
    CachingStatus,
    DeleteResponse,
    Event,
    RequestBody,
    Source,
    StatusResponse,
    UploadResponse,
)
from hitrate.client.recorder import Recorder
from hitrate.client.sync import Artifacts, Download, Hitrate

__all__ = [
    "Artifact",
    "ArtifactInfo",
    "ArtifactMetadata",
    "ArtifactProblem",
    "Artifacts",
    "AsyncArtifacts",
    "AsyncDownload",
    "AsyncHitrate",
    "BadRequest",
    "CachedRun",
    "CachingStatus",
    "Counts",
    "DeleteResponse",
    "Download",
    "Event",
    "Forbidden",
    "Hitrate",
    "HitrateError",
    "NotFound",
    "Outcome",
    "PaymentRequired",
    "RateLimited",
    "Recorder",
    "RequestBody",
    "ServiceUnavailable",
    "Source",
    "StatusResponse",
    "TransportError",
    "Unauthorized",
    "UploadResponse",
    "cached",
]
