"""HTTP requests to a server under test, for everything except the load itself."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.errors import MeasurementError

HOST = "127.0.0.1"
QUERY = "?slug=default"
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Endpoint:
    """Port and token of a server."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"


def request_status(endpoint: Endpoint, method: str, path: str, timeout_s: float = 5) -> int | None:
    """Send one request; return its status, or None if the server does not respond."""
    connection = http.client.HTTPConnection(HOST, endpoint.port, timeout=timeout_s)
    try:
        connection.request(method, path, headers={"Authorization": endpoint.authorization})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def put_artifact(endpoint: Endpoint, artifact: str, body: bytes) -> None:
    """Upload an artifact. Raises MeasurementError if that fails."""
    headers = {"Content-Type": "application/octet-stream", "x-artifact-duration": "1234"}
    with _request(endpoint, "PUT", f"/v8/artifacts/{artifact}{QUERY}", body, headers) as response:
        response.read()


def get_artifact(endpoint: Endpoint, artifact: str) -> bytes:
    """Download an artifact. Raises MeasurementError if it does not exist."""
    with _request(endpoint, "GET", f"/v8/artifacts/{artifact}{QUERY}") as response:
        return response.read()


def artifact_bytes(endpoint: Endpoint, artifact: str) -> int:
    """Download an artifact without keeping it in memory; return its size in bytes."""
    with _request(endpoint, "GET", f"/v8/artifacts/{artifact}{QUERY}") as response:
        return sum(iter(lambda: len(response.read(READ_BYTES)), 0))


def counters(endpoint: Endpoint) -> dict[str, float]:
    """Return the samples of `/metrics`, summed over their labels."""
    with _request(endpoint, "GET", "/metrics") as response:
        text = response.read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


@contextmanager
def _request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(HOST, endpoint.port, timeout=60)
    try:
        sent = {"Authorization": endpoint.authorization} | (headers or {})
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        if not 200 <= response.status < 300:
            raise MeasurementError(
                f"{method} {path} returned {response.status}: {response.read(300)!r}"
            )
        yield response
    except (OSError, http.client.HTTPException) as error:
        raise MeasurementError(f"{method} {path} failed: {error}") from error
    finally:
        connection.close()
