"""Running it well: alive, ready, counted, logged, over TLS."""

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
    """Every sample by name and label values."""
    text = httpx.get(f"{server.url}/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_alive_and_ready_need_no_token(shared_server: Server) -> None:
    assert httpx.get(f"{shared_server.url}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{shared_server.url}/readyz").json() == {"status": "ready", "problems": []}


def test_a_server_that_cannot_store_is_alive_and_not_ready(start_server: StartServer) -> None:
    server = start_server("--min-free-bytes", "1000TB")
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert "uploads are refused" in answer.json()["problems"][0]
    answer = server.request("PUT", "/v8/artifacts/a", content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_what_happens_is_counted(server: Server) -> None:
    batch = body(event(), event())
    for content in (batch, batch, b"no json"):
        server.request("POST", "/v8/artifacts/events", content=content)
    server.request("PUT", "/v8/artifacts/a", content=b"12345")
    server.request("GET", "/v8/artifacts/a")
    server.request("GET", "/v8/artifacts/b")
    # The two batches may be loaded one after the other; the second is the one that is dropped.
    eventually(lambda: server.metric("hitrate_events_deduplicated_total") == 2)
    found = samples(server)
    counts = {name[0]: value for name, value in found.items() if len(name) == 1}
    assert counts["hitrate_events_accepted_total"] == 4
    assert counts["hitrate_events_loaded_total"] == 2
    assert counts["hitrate_artifact_uploaded_bytes_total"] == 5
    assert counts["hitrate_artifact_downloaded_bytes_total"] == 5
    assert counts["hitrate_artifact_hits_total"] == 1
    assert counts["hitrate_artifact_misses_total"] == 1
    assert counts["hitrate_spool_bytes"] == counts["hitrate_event_load_lag_seconds"] == 0
    assert found["hitrate_http_request_duration_seconds_count", "recordEvents", "200"] == 2
    assert found["hitrate_http_request_duration_seconds_count", "recordEvents", "400"] == 1
    assert (
        found["hitrate_http_request_duration_seconds_bucket", "+Inf", "uploadArtifact", "202"] == 1
    )


def test_every_answer_has_a_request_id_of_its_own(shared_server: Server) -> None:
    paths = ("/healthz", "/nope", "/v1/events", "/v8/artifacts/status", "/v8/artifacts/none")
    ids = [shared_server.request("GET", path).headers["x-request-id"] for path in paths]
    assert len(set(ids)) == len(paths)


def test_an_address_that_is_not_served_answers_in_the_contracts_shape(
    shared_server: Server,
) -> None:
    answer = shared_server.request("GET", "/v9/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == answer.json()["code"] == "not_found"


def test_log_lines_are_json_with_time_and_level(server: Server) -> None:
    server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line["event"] for line in lines] == ["serving", "stopped"]
    assert all({"timestamp", "level", "component"} <= set(line) for line in lines)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None and "CI" not in os.environ:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


def test_over_tls_requests_and_commands_work(
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
        answer = server.request("POST", "/v8/artifacts/events", content=body(event()))
        assert answer.status_code == 200
        eventually(lambda: "1 events" in server.command("events", "--team", "default"))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
    finally:
        server.kill()
