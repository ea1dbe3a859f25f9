"""What the calls may be given beside their subject, by the names that Vercel's SDKs give them."""

from collections.abc import Callable, Mapping
from typing import TypedDict

import httpx

Progress = Callable[[int, int | None], object]
"""Called with the bytes that went so far, and all there are (None where nobody knows)."""


class CallOptions(TypedDict, total=False):
    """Every call: another team than its client's, and seconds without progress."""

    team_id: str | None
    slug: str | None
    timeout: float | httpx.Timeout


class ClientOptions(CallOptions, total=False):
    """Calls that say who makes them: a CI of at most 50 characters; 1 where a person watches."""

    x_artifact_client_ci: str | None
    x_artifact_client_interactive: bool | int | None


class EventOptions(ClientOptions, total=False):
    """`x_ai_agent`: the name of the coding agent that runs the build."""

    x_ai_agent: str | None


class DownloadOptions(ClientOptions, total=False):
    progress: Progress | None


class UploadOptions(ClientOptions, total=False):
    """`x_artifact_duration`: the milliseconds that making the artifact took.

    `x_artifact_tag`: its signature, at most 600 characters; `x_artifact_sha`: the git commit it
    was built from, `x_artifact_dirty_hash`: of the changes on top of that.
    """

    content_length: int | None
    progress: Progress | None
    x_artifact_duration: float | None
    x_artifact_tag: str | None
    x_artifact_sha: str | None
    x_artifact_dirty_hash: str | None


def check_names(options: Mapping[str, object], kind: type) -> None:
    """Raises TypeError for an option that there is not, as for any other argument."""
    if unknown := options.keys() - kind.__annotations__.keys():
        known = ", ".join(sorted(kind.__annotations__))
        raise TypeError(f"unexpected option {min(unknown)!r}; there are {known}")
