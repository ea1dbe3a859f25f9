"""Plain requests to a server under test, for everything that is not the load itself."""

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
    """Where a server listens and the token it takes."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"


def status_of(endpoint: Endpoint, method: str, path: str, timeout_s: float = 5) -> int | None:
    """The status of one request, or None while nobody answers."""
    connection = http.client.HTTPConnection(HOST, endpoint.port, timeout=timeout_s)
    try:
        connection.request(method, path, headers={"Authorization": endpoint.authorization})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def put_artifact(endpoint: Endpoint, artifact: str, body: bytes) -> None:
    """Upload one artifact; raises MeasurementError unless it is accepted."""
    headers = {"Content-Type": "application/octet-stream", "x-artifact-duration": "1234"}
    with _answer(endpoint, "PUT", f"/v8/artifacts/{artifact}{QUERY}", body, headers) as answer:
        answer.read()


def get_artifact(endpoint: Endpoint, artifact: str) -> bytes:
    """The bytes of one artifact; raises MeasurementError when it is not there."""
    with _answer(endpoint, "GET", f"/v8/artifacts/{artifact}{QUERY}") as answer:
        return answer.read()


def artifact_bytes(endpoint: Endpoint, artifact: str) -> int:
    """How many bytes a download of the artifact gives, without holding them."""
    with _answer(endpoint, "GET", f"/v8/artifacts/{artifact}{QUERY}") as answer:
        return sum(iter(lambda: len(answer.read(READ_BYTES)), 0))


def counters(endpoint: Endpoint) -> dict[str, float]:
    """The samples on `/metrics`, summed over their labels."""
    with _answer(endpoint, "GET", "/metrics") as answer:
        text = answer.read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


@contextmanager
def _answer(
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
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:
            raise MeasurementError(f"{method} {path} got {answer.status}: {answer.read(300)!r}")
        yield answer
    except (OSError, http.client.HTTPException) as error:
        raise MeasurementError(f"{method} {path} got no answer: {error}") from error
    finally:
        connection.close()
