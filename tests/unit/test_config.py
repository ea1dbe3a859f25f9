"""Settings from the command line, the environment, the TOML file and the defaults."""

from pathlib import Path

import pytest

from hitrate.config import OPTIONS, load_settings
from hitrate.errors import ConfigError
from hitrate.units import parse_duration, parse_size


def test_default_settings_serve_locally_with_embedded_storage() -> None:
    settings = load_settings({}, environ={})
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 3000, Path("data"))
    assert settings.artifact_ttl_s == 30 * 86400
    assert settings.max_cache_bytes is None
    assert settings.event_ttl_s is None


def test_command_line_precedes_environment_and_environment_precedes_file(tmp_path: Path) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text('port = 1\nhost = "file"\nmax_cache_bytes = "5MB"\n')
    settings = load_settings(
        {"port": "3"}, file, environ={"HITRATE_PORT": "2", "HITRATE_HOST": "env"}
    )
    assert (settings.port, settings.host, settings.max_cache_bytes) == (3, "env", 5_000_000)


@pytest.mark.parametrize(
    ("text", "size"), [("1500", 1500), ("200MB", 200_000_000), ("1.5 KiB", 1536), ("4gib", 2**32)]
)
def test_parse_size_accepts_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("1.5h", 5400), ("30d", 2_592_000)]
)
def test_parse_duration_accepts_units(text: str, seconds: float) -> None:
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
def test_invalid_value_error_names_setting_source_and_accepted_form(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"HITRATE_{name.upper()} is '{value}'; it takes"):
        load_settings({}, environ={f"HITRATE_{name.upper()}": value})


def test_unknown_name_in_the_file_raises_config_error(tmp_path: Path) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text("prot = 80\n")
    with pytest.raises(ConfigError, match="contains the unknown key `prot`; the settings are"):
        load_settings({}, file, environ={})


def test_missing_config_file_raises_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml"):
        load_settings({}, tmp_path / "nope.toml", environ={})


def test_certificate_without_key_raises_config_error() -> None:
    with pytest.raises(ConfigError, match="go together"):
        load_settings({"tls_cert": "a.pem"}, environ={})


def test_every_setting_has_a_help_text() -> None:
    assert all(option.help.endswith(".") for option in OPTIONS)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("port = 8080", "port", 8080),
        ('port = "8080"', "port", 8080),
        ("max_cache_bytes = 5000000", "max_cache_bytes", 5_000_000),
        ("min_free_bytes = 0", "min_free_bytes", 0),
        ("artifact_ttl = 86400", "artifact_ttl_s", 86400.0),
        ("artifact_ttl = 1.5", "artifact_ttl_s", 1.5),
        ('event_ttl = "never"', "event_ttl_s", None),
        ('oidc_name = "Example"', "oidc_name", "Example"),
        ('data_dir = "/var/lib/hitrate"', "data_dir", Path("/var/lib/hitrate")),
    ],
)
def test_file_value_of_suitable_type_is_accepted(
    tmp_path: Path, line: str, name: str, value: object
) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text(line)
    assert getattr(load_settings({}, file, environ={}), name) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('oidc_name = ["a"]', "oidc_name in {file} is an array; it takes a string."),
        ("oidc_name = true", "oidc_name in {file} is a boolean; it takes a string."),
        ("oidc_name = 5", "oidc_name in {file} is an integer; it takes a string."),
        ("host = 127.1", "host in {file} is a float; it takes a string."),
        ("host = {a = 1}", "host in {file} is a table; it takes a string."),
        ("data_dir = 2026-11-21", "data_dir in {file} is a date or time; it takes a string."),
        ("port = true", "port in {file} is a boolean; it takes an integer or a string."),
        ("port = 80.5", "port in {file} is a float; it takes an integer or a string."),
        (
            "max_cache_bytes = false",
            "max_cache_bytes in {file} is a boolean; it takes an integer or a string.",
        ),
        (
            "artifact_ttl = []",
            "artifact_ttl in {file} is an array; it takes an integer, a float or a string.",
        ),
        ("port = 70000", "port in {file} is '70000'; it takes a port from 1 to 65535."),
        (
            "max_cache_bytes = -1",
            (
                "max_cache_bytes in {file} is '-1'; "
                "it takes a size in bytes, such as 1500, 200MB or 4GiB."
            ),
        ),
    ],
)
def test_unsuitable_file_value_error_names_file_and_key(
    tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "hitrate.toml"
    file.write_text(line)
    with pytest.raises(ConfigError) as raised:
        load_settings({}, file, environ={})
    assert str(raised.value) == message.format(file=file)
