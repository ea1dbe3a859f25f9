"""Settings of single sign-on and the public URL: defaults, required combinations, validation."""

from __future__ import annotations

import pytest

from hitrate.config import Settings, load_settings
from hitrate.errors import ConfigError

PROVIDER_SETTINGS = {
    "oidc_issuer": "https://id.example.com",
    "oidc_client_id": "hitrate",
    "oidc_client_secret": "the secret",
}


def load(**options: str) -> Settings:
    return load_settings(options, environ={})


def test_defaults_configure_no_provider() -> None:
    settings = load()
    assert (settings.oidc_issuer, settings.oidc_join, settings.public_url) == ("", None, "")
    assert settings.oidc_name == "single sign-on"
    assert settings.login_token_ttl_s == 90 * 86400


def test_provider_settings_are_loaded_with_an_optional_default_team() -> None:
    settings = load(**PROVIDER_SETTINGS, oidc_join="web:viewer")
    assert settings.oidc_join == ("web", "VIEWER")
    assert "the secret" not in repr(settings)


@pytest.mark.parametrize("missing", PROVIDER_SETTINGS)
def test_missing_provider_setting_is_named(missing: str) -> None:
    options = {name: value for name, value in PROVIDER_SETTINGS.items() if name != missing}
    settings = load(**options)  # commands other than `serve` do not need the provider
    with pytest.raises(ConfigError, match=f"Single sign-on lacks {missing}: "):
        settings.check_oidc()


def test_oidc_join_requires_a_provider() -> None:
    with pytest.raises(ConfigError, match="oidc_join needs them"):
        load(oidc_join="web:MEMBER").check_oidc()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", "http://id.example.com"),
        ("oidc_issuer", "http://127.0.0.1.example.com"),
        ("oidc_issuer", "id.example.com"),
        ("oidc_join", "web"),
        ("oidc_join", "web:ROOT"),
        ("oidc_join", ":OWNER"),
        ("public_url", "cache.example.com"),
        ("public_url", "https://cache.example.com/below"),
        ("public_url", "https://ann@cache.example.com"),
        ("public_url", "ftp://cache.example.com"),
        ("login_token_ttl", "soon"),
    ],
)
def test_invalid_value_is_rejected(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name.replace('_', '-')} is '{value}'; it takes"):
        load(**{name: value})


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "http://localhost/x", "https://a/b/"])
def test_issuer_may_be_https_or_on_loopback(issuer: str) -> None:
    assert load(**(PROVIDER_SETTINGS | {"oidc_issuer": issuer})).oidc_issuer == issuer


@pytest.mark.parametrize("url", ["https://a.example.com", "http://10.0.0.1:3000", "https://[::1]"])
def test_public_url_is_normalized_without_a_path(url: str) -> None:
    assert load(public_url=url + "/").public_url == load(public_url=url).public_url == url
