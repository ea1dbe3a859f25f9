"""Liveness, readiness, metrics, request ids, logs and TLS."""

import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer
from tests.support.event_factory import body, event
from tests.support.server import Server, eventually, free_port


def samples(server: Server) -> dict[tuple[str, ...], float]:
    """Return every sample of the metrics by name and label values."""
    text = httpx.get(f"{server.url}/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_healthz_and_readyz_need_no_token(shared_server: Server) -> None:
    assert httpx.get(f"{shared_server.url}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{shared_server.url}/readyz").json() == {"status": "ready", "problems": []}


def test_server_with_full_disk_is_alive_but_not_ready(start_server: StartServer) -> None:
    server = start_server("--min-free-bytes", "1000TB")
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    response = httpx.get(f"{server.url}/readyz")
    assert response.status_code == 503
    assert "uploads are refused" in response.json()["problems"][0]
    response = server.request("PUT", "/v8/artifacts/a", content=b"x")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0


def test_metrics_count_events_artifacts_and_requests(server: Server) -> None:
    batch = body(event(), event())
    for content in (batch, batch, b"no json"):
        server.request("POST", "/v8/artifacts/events", content=content)
    server.request("PUT", "/v8/artifacts/a", content=b"12345")
    server.request("GET", "/v8/artifacts/a")
    server.request("GET", "/v8/artifacts/b")
    # The two batches may be loaded one after the other; the second is dropped as a duplicate.
    eventually(lambda: server.metric("hitrate_events_deduplicated_total") == 2)
    values = samples(server)
    counts = {name[0]: value for name, value in values.items() if len(name) == 1}
    assert counts["hitrate_events_accepted_total"] == 4
    assert counts["hitrate_events_loaded_total"] == 2
    assert counts["hitrate_artifact_uploaded_bytes_total"] == 5
    assert counts["hitrate_artifact_downloaded_bytes_total"] == 5
    assert counts["hitrate_artifact_hits_total"] == 1
    assert counts["hitrate_artifact_misses_total"] == 1
    assert counts["hitrate_spool_bytes"] == counts["hitrate_event_load_lag_seconds"] == 0
    assert values["hitrate_http_request_duration_seconds_count", "recordEvents", "200"] == 2
    assert values["hitrate_http_request_duration_seconds_count", "recordEvents", "400"] == 1
    assert (
        values["hitrate_http_request_duration_seconds_bucket", "+Inf", "uploadArtifact", "202"] == 1
    )


def test_every_response_has_a_unique_request_id(shared_server: Server) -> None:
    paths = ("/healthz", "/nope", "/v1/events", "/v8/artifacts/status", "/v8/artifacts/none")
    ids = [shared_server.request("GET", path).headers["x-request-id"] for path in paths]
    assert len(set(ids)) == len(paths)


def test_unknown_path_gets_an_error_in_both_published_forms(shared_server: Server) -> None:
    response = shared_server.request("GET", "/v9/nothing")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == response.json()["code"] == "not_found"


def test_log_lines_are_json_with_time_level_and_component(server: Server) -> None:
    server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line["event"] for line in lines] == ["serving", "stopped"]
    assert all({"timestamp", "level", "component"} <= set(line) for line in lines)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None and "CI" not in os.environ:
        pytest.skip("openssl, which creates the certificate, is not installed")
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


def test_requests_and_commands_work_over_tls(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    port = free_port()
    server = Server(tmp_path / "data", "--tls-cert", str(cert), "--tls-key", str(key))
    server.port = port
    server.scheme = "https"
    server.verify = ssl.create_default_context(cafile=str(cert))
    server.start()
    try:
        assert f"export TURBO_API=https://127.0.0.1:{port}" in server.output
        response = server.request("POST", "/v8/artifacts/events", content=body(event()))
        assert response.status_code == 200
        eventually(lambda: "1 event" in server.command("events", "--team", "default"))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
    finally:
        server.kill()
