"""The settings of signing in: what goes together, and what is refused."""

from __future__ import annotations

import pytest

from hitrate.config import Settings, load_settings
from hitrate.errors import ConfigError

ALL = {
    "oidc_issuer": "https://id.example.com",
    "oidc_client_id": "hitrate",
    "oidc_client_secret": "the secret",
}


def load(**given: str) -> Settings:
    return load_settings(given, environ={})


def test_without_them_people_sign_in_with_passwords() -> None:
    settings = load()
    assert (settings.oidc_issuer, settings.oidc_join, settings.public_url) == ("", None, "")
    assert settings.oidc_name == "single sign-on"
    assert settings.login_token_ttl_s == 90 * 86400


def test_a_provider_needs_three_and_a_team_to_join_is_a_choice() -> None:
    settings = load(**ALL, oidc_join="web:viewer")
    assert settings.oidc_join == ("web", "VIEWER")
    assert "the secret" not in repr(settings)


@pytest.mark.parametrize("missing", ALL)
def test_what_is_missing_is_named(missing: str) -> None:
    given = {name: value for name, value in ALL.items() if name != missing}
    settings = load(**given)  # for commands that do not serve it is no matter
    with pytest.raises(ConfigError, match=f"Single sign-on lacks {missing}: "):
        settings.check_oidc()


def test_nobody_joins_without_a_provider() -> None:
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
def test_a_value_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name.replace('_', '-')} is '{value}'; it takes"):
        load(**{name: value})


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "http://localhost/x", "https://a/b/"])
def test_an_issuer_is_https_or_on_this_computer(issuer: str) -> None:
    assert load(**(ALL | {"oidc_issuer": issuer})).oidc_issuer == issuer


@pytest.mark.parametrize("url", ["https://a.example.com", "http://10.0.0.1:3000", "https://[::1]"])
def test_a_public_address_has_no_path(url: str) -> None:
    assert load(public_url=url + "/").public_url == load(public_url=url).public_url == url
