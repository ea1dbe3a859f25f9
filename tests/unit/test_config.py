"""Settings: from the command line, the environment, the file, in that order."""

from pathlib import Path

import pytest

from hitrate.config import OPTIONS, load_settings
from hitrate.errors import ConfigError
from hitrate.units import parse_duration, parse_size


def test_the_defaults_are_local_and_embedded() -> None:
    settings = load_settings({}, environ={})
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 3000, Path("data"))
    assert settings.artifact_ttl_s == 30 * 86400
    assert settings.max_cache_bytes is None
    assert settings.event_ttl_s is None


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text('port = 1\nhost = "file"\nmax_cache_bytes = "5MB"\n')
    settings = load_settings(
        {"port": "3"}, file, environ={"HITRATE_PORT": "2", "HITRATE_HOST": "env"}
    )
    assert (settings.port, settings.host, settings.max_cache_bytes) == (3, "env", 5_000_000)


@pytest.mark.parametrize(
    ("text", "size"), [("1500", 1500), ("200MB", 200_000_000), ("1.5 KiB", 1536), ("4gib", 2**32)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("1.5h", 5400), ("30d", 2_592_000)]
)
def test_lengths_of_time_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "eighty"),
        ("max_artifact_bytes", "-1"),
        ("max_artifact_bytes", "0"),
        ("max_cache_bytes", "5 parsecs"),
        ("artifact_ttl", "soon"),
        ("log_level", "loud"),
    ],
)
def test_a_wrong_value_names_the_setting_the_place_and_what_it_takes(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"HITRATE_{name.upper()} is '{value}'; it takes"):
        load_settings({}, environ={f"HITRATE_{name.upper()}": value})


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text("prot = 80\n")
    with pytest.raises(ConfigError, match="prot"):
        load_settings({}, file, environ={})


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml"):
        load_settings({}, tmp_path / "nope.toml", environ={})


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(ConfigError, match="go together"):
        load_settings({"tls_cert": "a.pem"}, environ={})


def test_every_setting_has_a_help_text() -> None:
    assert all(option.help.endswith(".") for option in OPTIONS)
