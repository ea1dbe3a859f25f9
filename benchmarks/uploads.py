"""Large uploads over plain sockets, streamed from one buffer to keep the sender small."""

import socket
from concurrent.futures import ThreadPoolExecutor

from benchmarks.client import HOST, QUERY, Endpoint
from benchmarks.errors import MeasurementError

CHUNK = bytes(range(256)) * 4096  # 1 MiB
RESPONSE_TIMEOUT_S = 300


def upload_concurrently(endpoint: Endpoint, artifacts: list[str], size_bytes: int) -> None:
    """PUT all artifacts in parallel, each `size_bytes` long. Raises MeasurementError."""
    with ThreadPoolExecutor(len(artifacts)) as pool:
        for status in pool.map(lambda name: _upload(endpoint, name, size_bytes), artifacts):
            if not 200 <= status < 300:
                raise MeasurementError(f"an upload of {size_bytes} bytes returned {status}")


def _upload(endpoint: Endpoint, artifact: str, size_bytes: int) -> int:
    head = (
        f"PUT /v8/artifacts/{artifact}{QUERY} HTTP/1.1\r\nHost: {HOST}:{endpoint.port}\r\n"
        f"Authorization: {endpoint.authorization}\r\nContent-Type: application/octet-stream\r\n"
        f"x-artifact-duration: 1234\r\nContent-Length: {size_bytes}\r\n\r\n"
    )
    with socket.create_connection((HOST, endpoint.port), timeout=RESPONSE_TIMEOUT_S) as connection:
        try:
            connection.sendall(head.encode())
            for start in range(0, size_bytes, len(CHUNK)):
                connection.sendall(memoryview(CHUNK)[: size_bytes - start])
            response = b""
            while b"\r\n" not in response and (part := connection.recv(4096)):
                response += part
        except OSError as error:
            raise MeasurementError(f"an upload of {size_bytes} bytes failed: {error}") from error
    fields = response.split(None, 2)
    if len(fields) < 2 or not fields[1].isdigit():
        raise MeasurementError(f"an upload got no HTTP response: {response[:100]!r}")
    return int(fields[1])
