"""Passwords: what is kept of one, and what matches."""

import pytest
from argon2 import Type

from hitrate.errors import BadRequest
from hitrate.teams import passwords
from hitrate.teams.passwords import hash_password, password_matches

PASSWORD = "correct horse battery"
WHAT_IT_COSTS = passwords._hasher

pytestmark = pytest.mark.usefixtures("quick_passwords")


def test_a_guess_costs_what_the_makers_of_argon2_recommend() -> None:
    assert WHAT_IT_COSTS.type is Type.ID
    assert WHAT_IT_COSTS.memory_cost >= 64 * 1024
    assert WHAT_IT_COSTS.time_cost >= 3


def test_what_is_kept_is_an_argon2id_hash_with_a_salt() -> None:
    kept = [hash_password(PASSWORD) for _ in range(2)]
    assert all(one.startswith("$argon2id$") and PASSWORD not in one for one in kept)
    assert kept[0] != kept[1]
    assert all(password_matches(one, PASSWORD) for one in kept)


@pytest.mark.parametrize(
    "guess",
    [
        "",
        PASSWORD[:-1],
        PASSWORD + " ",
        PASSWORD.title(),
        PASSWORD + "\0",
        "\udcff" * 12,
        "x" * 10**6,
    ],
)
def test_only_the_password_itself_matches(guess: str) -> None:
    assert not password_matches(hash_password(PASSWORD), guess)


def test_every_character_counts_also_after_a_nul_and_at_the_longest() -> None:
    nul, longest = "ten letters\0and more", "x" * 1024
    assert password_matches(hash_password(nul), nul)
    assert not password_matches(hash_password(nul), "ten letters\0and less")
    assert password_matches(hash_password(longest), longest)
    assert not password_matches(hash_password(longest), longest + "x")


@pytest.mark.parametrize("password", ["", "x" * 9, "x" * 1025, "half a pair \ud800"])
def test_a_password_has_10_to_1024_characters(password: str) -> None:
    with pytest.raises(BadRequest, match="10 to 1024 characters") as caught:
        hash_password(password)
    assert not password or password not in str(caught.value)


def test_ten_characters_of_any_script_are_enough() -> None:
    assert password_matches(hash_password("пароль😀😀😀😀"), "пароль😀😀😀😀")


@pytest.mark.parametrize("kept", [None, "", "no hash", "$argon2id$v=19$broken"])
def test_where_there_is_no_hash_nothing_matches(kept: str | None) -> None:
    assert not password_matches(kept, "nobody has this password")
    assert not password_matches(kept, "")


@pytest.mark.parametrize("guess", [PASSWORD, "\ud800", "x" * 2000])
def test_nobody_takes_as_long_as_somebody(monkeypatch: pytest.MonkeyPatch, guess: str) -> None:
    real = passwords._hasher
    verified: list[str] = []

    class Spy:
        def verify(self, kept: str, password: str) -> bool:
            verified.append(kept.rpartition("$")[0].rpartition("$")[0])
            return real.verify(kept, password)

    kept = hash_password(PASSWORD)
    monkeypatch.setattr(passwords, "_hasher", Spy())
    password_matches(None, guess)
    password_matches(kept, guess)
    assert len(verified) == 2
    assert verified[0] == verified[1]  # with the same parameters
