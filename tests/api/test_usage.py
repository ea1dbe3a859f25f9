"""Usage reports: the API, the command and the meter file agree."""

import json
from typing import Any

import msgspec
import pytest

from hitrate.billing.pricing import UsageTotals
from hitrate.billing.quotas import TeamState
from hitrate.billing.usage import ClosedCycle, TeamUsageResponse
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team
from hitrate.teams.settings import Limits, Prices, TeamSettings
from tests.support.meter_harness import ms
from tests.support.raw_http import RawHttpClient, create_artifact
from tests.support.server import Server, eventually

HOUR_MS = 3_600_000
APRIL = Cycle(ms("2026-04-01"), ms("2026-05-01"))
MIDDLE_MS = ms("2026-04-16")


def usage(
    totals: UsageTotals,
    *,
    now_ms: int = MIDDLE_MS,
    past: tuple[ClosedCycle, ...] = (),
    cycle: Cycle = APRIL,
    **settings: Any,
) -> dict[str, Any]:
    """Return the usage report as JSON values."""
    team = Team("team_x", "ours", "Ours", 0, TeamSettings(**settings))
    report = TeamUsageResponse.from_totals(team, TeamState.ACTIVE, cycle, totals, past, now_ms)
    result: dict[str, Any] = json.loads(msgspec.json.encode(report))
    return result


def test_usage_report_uses_camel_case_field_names() -> None:
    report = usage(UsageTotals())
    assert list(report) == ["team", "state", "currency", "current", "past"]
    assert list(report["current"]) == [
        "start", "end", "used", "limits", "remaining", "spendCap", "spendRemaining", "forecast",
    ]  # fmt: skip
    measures = ["uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes"]
    assert list(report["current"]["used"]) == [*measures, "averageStoredBytes", "cost"]
    assert list(report["current"]["remaining"]) == measures
    assert report["current"]["start"] == "2026-04-01T00:00:00.000Z"
    assert report["current"]["end"] == "2026-05-01T00:00:00.000Z"


def test_remaining_usage_is_limit_minus_usage_and_never_negative() -> None:
    used = UsageTotals(uploaded_bytes=40, downloaded_bytes=10, requests=11, events=3)
    report = usage(used, limits=Limits(100, 10, 10, None, 50))["current"]
    assert report["remaining"] == {
        "uploadedBytes": 60,
        "downloadedBytes": 0,
        "requests": 0,
        "events": None,
        "storedBytes": 50,
    }
    assert report["limits"]["requests"] == 10


def test_cost_so_far_and_remaining_spend_cap() -> None:
    prices = Prices(uploaded_gb=500_000, million_requests=2_000_000)
    used = UsageTotals(uploaded_bytes=3 * 10**9, requests=1_000_001)
    report = usage(used, prices=prices, spend_cap=10_000_000, currency="EUR")
    assert report["currency"] == "EUR"
    assert report["current"]["used"]["cost"] == "3.500002"
    assert (report["current"]["spendCap"], report["current"]["spendRemaining"]) == (
        "10.00",
        "6.499998",
    )
    exceeded = usage(used, prices=prices, spend_cap=1)["current"]
    assert exceeded["spendRemaining"] == "0.00"
    uncapped = usage(used, prices=prices)["current"]
    assert (uncapped["spendCap"], uncapped["spendRemaining"]) == (None, None)


def test_average_storage_covers_the_elapsed_time() -> None:
    used = UsageTotals(stored_bytes=100, stored_byte_ms=100 * (MIDDLE_MS - APRIL.start_ms) // 2)
    report = usage(used)["current"]
    assert report["used"]["storedBytes"] == 100
    assert report["used"]["averageStoredBytes"] == 50
    assert report["forecast"]["averageStoredBytes"] == 75


def test_forecast_names_limits_and_spend_cap_that_will_be_reached() -> None:
    used = UsageTotals(uploaded_bytes=40, requests=5, events=49, stored_bytes=10)
    report = usage(
        used,
        limits=Limits(uploaded_bytes=80, requests=11, events=98, stored_bytes=11),
        prices=Prices(million_requests=1_000_000),
        spend_cap=10,
    )["current"]["forecast"]
    assert (report["uploadedBytes"], report["requests"], report["events"]) == (80, 10, 98)
    assert report["overLimit"] == ["uploaded_bytes", "events"]
    assert (report["cost"], report["overSpendCap"]) == ("0.00001", True)


@pytest.mark.parametrize("elapsed_ms", [0, 1, 3000])
def test_forecast_equals_usage_at_and_after_the_cycle_end(elapsed_ms: int) -> None:
    used = UsageTotals(5, 6, 7, 8, 9, 9 * (APRIL.end_ms - APRIL.start_ms))
    report = usage(used, now_ms=APRIL.end_ms + elapsed_ms)["current"]
    forecast = {name: report["forecast"][name] for name in report["used"]}
    assert forecast | {"averageStoredBytes": 0} == report["used"] | {"averageStoredBytes": 0}
    assert forecast["averageStoredBytes"] == 9


def test_forecast_at_the_cycle_start_counts_one_full_hour() -> None:
    report = usage(UsageTotals(requests=3), now_ms=APRIL.start_ms)["current"]
    hours = (APRIL.end_ms - APRIL.start_ms) // HOUR_MS
    assert report["forecast"]["requests"] == 3 + 3 * hours


def test_past_cycles_have_the_prices_of_their_end() -> None:
    march = ClosedCycle(
        ms("2026-03-01"), APRIL.start_ms, 1, 2, 3, 4, 5, 6, currency="EUR", cost_micros=7_500_000
    )
    [past] = usage(UsageTotals(), past=(march,), currency="USD")["past"]
    assert past == {
        "start": "2026-03-01T00:00:00.000Z",
        "end": "2026-04-01T00:00:00.000Z",
        "currency": "EUR",
        "used": {
            "uploadedBytes": 1,
            "downloadedBytes": 2,
            "requests": 3,
            "events": 4,
            "storedBytes": 5,
            "averageStoredBytes": 6,
            "cost": "7.50",
        },
    }


# On a running server


def api_usage(server: Server) -> dict[str, Any]:
    response = server.request("GET", f"/v1/teams/{server.team}/usage")
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def command_usage(server: Server) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(server.command("team", "usage", server.team, "--json"))
    return report


def assert_reports_agree(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Check that two reports are equal; values that grow with time may differ by 2 %."""
    for name in ("forecast", "used"):
        for key, value in first["current"][name].items():
            if name == "forecast" or key in ("averageStoredBytes", "cost"):
                expected = second["current"][name][key]
                if isinstance(value, str):
                    value, expected = float(value), float(expected)
                if isinstance(value, int | float):
                    assert expected == pytest.approx(value, rel=0.02, abs=1000), f"{name}.{key}"
                second["current"][name][key] = first["current"][name][key]
    assert first == second


def generate_usage(server: Server) -> dict[str, int]:
    """Use some of each measure. Return the usage that must be metered."""
    small, large = create_artifact("small", 1, 1000), create_artifact("large", 1, 1_500_000)
    events = [
        {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": f"h{n}"} for n in range(7)
    ]
    with RawHttpClient(server) as client:
        for artifact in (small, large):
            assert client.put(artifact, 400_000).status == 202
            assert client.get(artifact.hash).body == artifact.body
            assert client.request("HEAD", artifact.path).status == 200
        assert client.get("absent").status == 404
        assert client.request("HEAD", "/v8/artifacts/absent").status == 404
        assert client.post_events(json.dumps(events).encode()).status == 200
        assert client.request("POST", "/v8/artifacts", b'{"hashes":["small"]}').status == 200
        assert client.request("GET", "/v8/artifacts/status").status == 200
        assert client.request("OPTIONS", "/v8/artifacts/small").status == 200
        assert client.request("POST", "/v8/artifacts", b"no JSON").status == 400
        assert client.request("PATCH", "/v8/artifacts/small").status == 405
        assert client.request("GET", "/v8/elsewhere").status == 404
    return {
        "uploadedBytes": 1_501_000,
        "downloadedBytes": 1_501_000,
        "requests": 10,
        "events": 7,
        "storedBytes": 1_501_000,
    }


def test_api_and_command_agree_while_running_stopped_and_killed(server: Server) -> None:
    server.command(
        "team", "billing", server.team, "--price-stored-gb", "2.5", "--price-million-requests",
        "1000", "--spend-cap", "40", "--currency", "EUR",
    )  # fmt: skip
    server.command("team", "limit", server.team, "--requests", "500", "--stored-bytes", "1GB")
    expected = generate_usage(server)
    eventually(lambda: api_usage(server)["current"]["spendCap"])
    report = api_usage(server)
    used = report["current"]["used"]
    assert {name: used[name] for name in expected} == expected
    assert float(used["cost"]) == pytest.approx(0.01, abs=0.0001)
    assert report["current"]["remaining"]["requests"] == 490
    assert_reports_agree(report, command_usage(server))
    server.kill()
    assert_reports_agree(report, command_usage(server))
    server.start()
    assert_reports_agree(report, api_usage(server))
    assert server.stop() == 0
    assert_reports_agree(report, command_usage(server))
    server.start()
    assert_reports_agree(report, api_usage(server))


def test_deleting_and_replacing_artifacts_changes_stored_bytes_only(server: Server) -> None:
    with RawHttpClient(server) as client:
        for version in range(3):
            assert client.put(create_artifact("one", version, 1000 * (version + 1))).status == 202
        used = api_usage(server)["current"]["used"]
        assert (used["uploadedBytes"], used["storedBytes"], used["requests"]) == (6000, 3000, 3)
        assert client.request("DELETE", "/v8/artifacts").status == 200
    for read_usage in (api_usage, command_usage):
        used = read_usage(server)["current"]["used"]
        assert (used["uploadedBytes"], used["storedBytes"], used["requests"]) == (6000, 0, 4)


def test_artifacts_removed_by_gc_are_deducted_from_stored_bytes(server: Server) -> None:
    with RawHttpClient(server) as client:
        assert client.put(create_artifact("one", 1, 1000)).status == 202
        assert client.put(create_artifact("two", 1, 500)).status == 202
    [blob] = [p for p in (server.data_dir / "artifacts").glob("*/*/*") if p.stat().st_size == 500]
    blob.unlink()
    server.command("gc")
    assert api_usage(server)["current"]["used"]["storedBytes"] == 1000
    eventually(lambda: command_usage(server)["current"]["used"]["storedBytes"] == 1000)


def test_usage_command_prints_a_table(server: Server) -> None:
    generate_usage(server)
    printed = server.command("team", "usage", server.team)
    for text in ("cycle from", "Used", "Limit", "Remaining", "Forecast", "requests", "10", "cost"):
        assert text in printed, printed


def test_meter_file_is_readable_by_its_owner_only(server: Server) -> None:
    assert (server.data_dir / "meter.ndjson").stat().st_mode & 0o777 == 0o600
