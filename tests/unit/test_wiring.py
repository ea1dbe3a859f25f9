"""App: a failed startup closes the components that were opened."""

import asyncio
import errno
from pathlib import Path

import pytest

from hitrate.app.wiring import App
from hitrate.billing.meter import Meter
from hitrate.config import Settings
from hitrate.events.loader import Loader


def test_failed_startup_closes_opened_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close_meter = Meter.close

    def fail(_loader: Loader) -> None:
        raise OSError(errno.EIO, "broken")

    def record_close(meter: Meter) -> None:
        closed.append("meter")
        close_meter(meter)

    monkeypatch.setattr(Loader, "open", fail)
    monkeypatch.setattr(Meter, "close", record_close)
    with pytest.raises(OSError, match="broken"):
        asyncio.run(App(Settings(data_dir=tmp_path)).startup())
    assert closed == ["meter"]
