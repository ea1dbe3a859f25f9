"""Options of the calls, named as in Vercel's SDKs."""

from collections.abc import Callable, Mapping
from typing import TypedDict

import httpx

Progress = Callable[[int, int | None], object]
"""Callback with the bytes transferred so far and the total, which is None if unknown."""


class CallOptions(TypedDict, total=False):
    """Options of every call: the team, and the timeout in seconds without progress."""

    team_id: str | None
    slug: str | None
    timeout: float | httpx.Timeout


class ClientOptions(CallOptions, total=False):
    """Options that describe the client: CI (at most 50 characters); 1 for a terminal."""

    x_artifact_client_ci: str | None
    x_artifact_client_interactive: bool | int | None


class EventOptions(ClientOptions, total=False):
    """Options of `record_events`. `x_ai_agent`: the coding agent that runs the build."""

    x_ai_agent: str | None


class DownloadOptions(ClientOptions, total=False):
    """Options of downloads."""

    progress: Progress | None


class UploadOptions(ClientOptions, total=False):
    """Options of uploads.

    `x_artifact_duration`: how long the task took, in milliseconds. `x_artifact_tag`: signature, at
    most 600 characters. `x_artifact_sha`: git commit. `x_artifact_dirty_hash`: hash of the
    uncommitted changes.
    """

    content_length: int | None
    progress: Progress | None
    x_artifact_duration: float | None
    x_artifact_tag: str | None
    x_artifact_sha: str | None
    x_artifact_dirty_hash: str | None


def check_names(options: Mapping[str, object], kind: type) -> None:
    """Raise TypeError for an unknown option, as for any other argument."""
    if unknown := options.keys() - kind.__annotations__.keys():
        allowed = ", ".join(sorted(kind.__annotations__))
        raise TypeError(f"unexpected option {min(unknown)!r}; the options are {allowed}")
