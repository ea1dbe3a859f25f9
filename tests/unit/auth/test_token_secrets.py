"""The format of token secrets and ids."""

import re

import pytest

from hitrate.auth import tokens
from hitrate.ids import new_id


def test_new_secret_has_the_documented_format() -> None:
    secret = tokens.new_secret()
    assert re.fullmatch(r"hr_[0-9A-Za-z]{38}", secret)
    assert tokens.well_formed(secret.encode())


def test_secrets_are_unique() -> None:
    assert len({tokens.new_secret() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("position", range(3, 41))
def test_checksum_detects_one_wrong_character(position: int) -> None:
    secret = bytearray(tokens.new_secret().encode())
    secret[position] = ord("A") if secret[position] != ord("A") else ord("B")
    assert not tokens.well_formed(bytes(secret))


@pytest.mark.parametrize("text", [b"", b"hr_", b"abc", b"\xff" * 41, b"hr_" + b"0" * 38])
def test_malformed_secret_is_detected(text: bytes) -> None:
    assert not tokens.well_formed(text)


def test_team_id_has_the_form_that_turbo_sends() -> None:
    assert re.fullmatch(r"team_[0-9A-Za-z]{24}", new_id("team", 24))
