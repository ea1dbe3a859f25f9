"""The form of tokens."""

import re

import pytest

from hitrate.auth import token_secrets
from hitrate.ids import new_id


def test_a_new_token_is_recognisable_and_well_formed() -> None:
    secret = token_secrets.new_secret()
    assert re.fullmatch(r"hr_[0-9A-Za-z]{38}", secret)
    assert token_secrets.well_formed(secret.encode())


def test_no_two_tokens_are_the_same() -> None:
    assert len({token_secrets.new_secret() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("position", range(3, 41))
def test_one_wrong_character_is_noticed(position: int) -> None:
    secret = bytearray(token_secrets.new_secret().encode())
    secret[position] = ord("A") if secret[position] != ord("A") else ord("B")
    assert not token_secrets.well_formed(bytes(secret))


@pytest.mark.parametrize("text", [b"", b"hr_", b"abc", b"\xff" * 41, b"hr_" + b"0" * 38])
def test_what_is_no_token_is_noticed(text: bytes) -> None:
    assert not token_secrets.well_formed(text)


def test_a_team_id_is_sent_by_turbo() -> None:
    assert re.fullmatch(r"team_[0-9A-Za-z]{24}", new_id("team", 24))
