"""Password hashes: parameters, storage and comparison."""

import pytest
from argon2 import Type

from hitrate.errors import BadRequest
from hitrate.teams import passwords
from hitrate.teams.passwords import hash_password, password_matches

PASSWORD = "correct horse battery"
PRODUCTION_HASHER = passwords._hasher

pytestmark = pytest.mark.usefixtures("quick_passwords")


def test_hash_parameters_are_at_least_the_recommended_ones() -> None:
    assert PRODUCTION_HASHER.type is Type.ID
    assert PRODUCTION_HASHER.memory_cost >= 64 * 1024
    assert PRODUCTION_HASHER.time_cost >= 3


def test_stored_hash_is_salted_argon2id() -> None:
    hashes = [hash_password(PASSWORD) for _ in range(2)]
    assert all(one.startswith("$argon2id$") and PASSWORD not in one for one in hashes)
    assert hashes[0] != hashes[1]
    assert all(password_matches(one, PASSWORD) for one in hashes)


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
def test_other_passwords_do_not_match(guess: str) -> None:
    assert not password_matches(hash_password(PASSWORD), guess)


def test_every_character_counts_after_a_nul_and_at_the_maximum_length() -> None:
    nul, longest = "ten letters\0and more", "x" * 1024
    assert password_matches(hash_password(nul), nul)
    assert not password_matches(hash_password(nul), "ten letters\0and less")
    assert password_matches(hash_password(longest), longest)
    assert not password_matches(hash_password(longest), longest + "x")


@pytest.mark.parametrize("password", ["", "x" * 9, "x" * 1025, "half a pair \ud800"])
def test_password_of_invalid_length_or_encoding_is_refused(password: str) -> None:
    with pytest.raises(BadRequest, match="10 to 1024 characters") as caught:
        hash_password(password)
    assert not password or password not in str(caught.value)


def test_ten_characters_of_any_script_are_accepted() -> None:
    assert password_matches(hash_password("пароль😀😀😀😀"), "пароль😀😀😀😀")


@pytest.mark.parametrize("password_hash", [None, "", "no hash", "$argon2id$v=19$broken"])
def test_missing_or_malformed_hash_matches_no_password(password_hash: str | None) -> None:
    assert not password_matches(password_hash, "nobody has this password")
    assert not password_matches(password_hash, "")


@pytest.mark.parametrize("guess", [PASSWORD, "\ud800", "x" * 2000])
def test_unknown_user_costs_the_same_hash_as_a_known_one(
    monkeypatch: pytest.MonkeyPatch, guess: str
) -> None:
    real = passwords._hasher
    verified: list[str] = []

    class Spy:
        def verify(self, password_hash: str, password: str) -> bool:
            verified.append(password_hash.rpartition("$")[0].rpartition("$")[0])
            return real.verify(password_hash, password)

    password_hash = hash_password(PASSWORD)
    monkeypatch.setattr(passwords, "_hasher", Spy())
    password_matches(None, guess)
    password_matches(password_hash, guess)
    assert len(verified) == 2
    assert verified[0] == verified[1]  # with the same parameters
