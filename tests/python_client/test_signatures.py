"""With a signature key, `cached` stores signed archives and restores only those."""

import os
from pathlib import Path

import pytest

from hitrate.client import CachedRun, Hitrate, Outcome, cached
from tests.support.strict_fake import StoredArtifact, StrictFake

KEY = "TURBO_REMOTE_CACHE_SIGNATURE_KEY"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("input")
    return tmp_path


@pytest.fixture(autouse=True)
def _signature_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "the key")


def build(fake: StrictFake, project: Path, team_id: str | None = None) -> CachedRun[None]:
    with Hitrate(fake.token, server_url=fake.url, team_id=team_id) as client:
        command = ["sh", "-c", "tr a-z A-Z < in.txt > out.txt"]
        return cached(command, inputs=["in.txt"], outputs=["out.txt"], root=project, client=client)


def test_signed_archive_is_restored_with_the_same_key(fake: StrictFake, project: Path) -> None:
    assert build(fake, project).stored
    [stored] = fake.artifacts.values()
    assert len(stored.headers["x-artifact-tag"]) == 44
    assert build(fake, project).outcome is Outcome.HIT


@pytest.mark.parametrize("tag", [None, "", "bm9uZQ=="], ids=["no tag", "empty tag", "wrong tag"])
def test_archive_with_an_invalid_signature_is_rebuilt_and_replaced(
    fake: StrictFake, project: Path, tag: str | None
) -> None:
    build(fake, project)
    [(name, stored)] = fake.artifacts.items()
    headers = {} if tag is None else {"x-artifact-tag": tag}
    fake.artifacts[name] = StoredArtifact(stored.content, headers)

    unverified = build(fake, project)

    assert (unverified.outcome, unverified.stored) == (Outcome.UNREADABLE, True)
    assert unverified.problem == "not restored: its signature is missing or invalid"
    assert build(fake, project).outcome is Outcome.HIT


def test_signature_is_invalid_for_another_key_or_team(
    fake: StrictFake, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(fake, project)
    assert build(fake, project, team_id=fake.team_id).outcome is Outcome.UNREADABLE
    monkeypatch.setenv(KEY, os.environ[KEY] + "!")
    assert build(fake, project, team_id=fake.team_id).outcome is Outcome.UNREADABLE
