"""Holds `detected_ci` and `detected_agent` to what the real `turbo` says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hitrate.client.detection import _AGENTS, _CI, detected_agent, detected_ci
from tests.support import monorepo
from tests.support.monorepo import Monorepo
from tests.support.node_packages import NodePackages
from tests.support.strict_fake import StrictFake

Environ = dict[str, str]
# What turbo says: its CI, and its agent.
Said = tuple[str | None, str | None]

# What the tables of `detection` do not tell: what counts as set, and what turbo does not know.
ODD: list[Environ] = [
    {},
    {"CI": "1"},
    {"CI": "true"},
    {"CI": "false"},
    {"CI": "0"},
    {"CI": ""},
    {"GITHUB_ACTIONS": "true"},
    {"GITHUB_ACTIONS": "true", "CI": ""},
    {"GITHUB_ACTIONS": "true", "CI": "false"},
    {"GITHUB_ACTIONS": "true", "CONTINUOUS_INTEGRATION": "1"},
    {"GITHUB_ACTIONS": "true", "BUILD_NUMBER": "1"},
    {"GITHUB_ACTIONS": "true", "CI_APP_ID": "1"},
    {"GITHUB_ACTIONS": "true", "CI_BUILD_ID": "1"},
    {"GITHUB_ACTIONS": "true", "CI_BUILD_NUMBER": "1"},
    {"GITHUB_ACTIONS": "true", "BUILD_ID": "1"},
    {"GITHUB_ACTIONS": "true", "RUN_ID": "1"},
    {"GITHUB_ACTIONS": "true", "RUN_ID": ""},
    {"GITHUB_ACTIONS": "", "CI": "1"},
    {"GITHUB_ACTIONS": "false", "CI": "1"},
    {"GITHUB_ACTIONS": "", "GITLAB_CI": "1", "CI": "1"},
    {"VERCEL": "1"},
    {"VERCEL": "", "NOW_BUILDER": "1", "CI": "1"},
    {"JENKINS_URL": "u", "BUILD_ID": "1"},
    {"JENKINS_URL": "u", "CI": "1"},
    {"JENKINS_URL": "", "BUILD_ID": "1"},
    {"BUILD_ID": "1", "CI": "1"},
    {"CI_NAME": "codeship"},
    {"CI_NAME": "sourcehut"},
    {"CI_NAME": "Codeship"},
    {"CI_NAME": "other"},
    {"CI_NAME": ""},
    {"CI": "woodpecker"},
    {"TASK_ID": "1"},
    {"TASK_ID": "1", "CI": "1"},
    {"RUN_ID": "1"},
    {"TASK_ID": "1", "RUN_ID": "1"},
    {"TEAMCITY_VERSION": "1"},
    {"TRAVIS": "1"},
    {"BAMBOO_PLANKEY": "1", "CI": "1"},
    {"GITEA_ACTIONS": "1", "CI": "1"},
    {"CF_PAGES": "1", "CI": "1"},
    {"HARNESS_BUILD_ID": "1", "CI": "1"},
    {"EARTHLY_CI": "1", "CI": "1"},
    {"AGOLA_GIT_REF": "1", "CI": "1"},
    {"VELA": "1", "CI": "1"},
    {"PROW_JOB_ID": "1", "CI": "1"},
    {"AI_AGENT": "claude"},
    {"AI_AGENT": " two words\t"},
    {"AI_AGENT": "  "},
    {"AI_AGENT": ""},
    {"AI_AGENT": " ", "CLAUDECODE": "1"},
    {"AI_AGENT": "mine", "CLAUDECODE": "1"},
    {"AI_AGENT": "CamelCase"},
    {"AI_AGENT": "a" * 300},
    {"AI_AGENT": "ä"},
    {"CLAUDECODE": ""},
    {"CLAUDECODE": "0"},
    {"CLAUDECODE": "", "CLAUDE_CODE": "1"},
    {"CURSOR_TRACE_ID": "", "CLAUDECODE": "1"},
    {"CURSOR_TRACE_ID": "1", "CLAUDECODE": "1", "GEMINI_CLI": "1"},
    {"CLAUDECODE": "1", "CLAUDE_CODE_IS_COWORK": "1"},
    {"CODEX_CI": "1"},
    {"CODEX_THREAD_ID": "1"},
    {"ANTIGRAVITY_AGENT": "1"},
    {"COPILOT_MODEL": "1"},
    {"GOOSE_TERMINAL": "1"},
    {"AMP_CURRENT_THREAD_ID": "1"},
]


def signs_of(table: dict[str, str]) -> Iterator[tuple[str, Environ]]:
    """Each name with the variables that give it away, once for each way that there is."""
    for name, signs in table.items():
        for way in signs.split("|"):
            pairs = (sign.partition("=") for sign in way.split("+"))
            yield name, {variable: value or "1" for variable, _, value in pairs}


def with_all_that_follow(table: dict[str, str]) -> Iterator[tuple[str, Environ]]:
    """Each name with its own variables and those of all after it, none of which it may lose to."""
    following: Environ = {}
    for name, environ in reversed(list(signs_of(table))):
        following = following | environ
        yield name, following


def shown(environ: Environ) -> str:
    return " ".join(map("=".join, environ.items()))[:60]


@pytest.fixture(scope="module")
def turbo_says(
    node_packages: NodePackages,
    templates: dict[str, Monorepo],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Environ], Said]]:
    """Runs turbo in such an environment, with nothing else that could name a CI or an agent."""
    turbo = node_packages.turbo("turbo")
    repo = templates["tasks"].copy_to(tmp_path_factory.mktemp("detection") / "repo")

    def turbo_says(environ: Environ) -> Said:
        fake.requests.clear()
        # Forced, it asks for nothing and uploads at once, and that names both.
        command = ("lint", "--filter=app-1", "--force")
        done = monorepo.run(turbo, repo, *command, env={**remote, **environ})
        assert done.returncode == 0, done.stdout + done.stderr
        [upload] = [request for request in fake.requests if request.method == "PUT"]
        agent = upload.headers.get("x-ai-agent")
        # turbo sends UTF-8, which the fake reads as HTTP does.
        spoken = None if agent is None else agent.encode("latin-1").decode()
        return upload.headers.get("x-artifact-client-ci"), spoken

    with StrictFake() as fake:
        remote = {"TURBO_API": fake.url, "TURBO_TOKEN": fake.token, "TURBO_TEAM": fake.slug}
        yield turbo_says


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        *((name, {"CI": "1", **environ}) for name, environ in signs_of(_CI)),
        *((name, {"CI": "1", **environ}) for name, environ in with_all_that_follow(_CI)),
    ],
)
def test_each_ci_is_named_as_by_turbo(
    turbo_says: Callable[[Environ], Said], name: str, environ: Environ
) -> None:
    assert turbo_says(environ)[0] == detected_ci(environ) == name


@pytest.mark.parametrize(("name", "environ"), [*signs_of(_AGENTS), *with_all_that_follow(_AGENTS)])
def test_each_agent_is_named_as_by_turbo(
    turbo_says: Callable[[Environ], Said], name: str, environ: Environ
) -> None:
    assert turbo_says(environ)[1] == detected_agent(environ) == name


@pytest.mark.parametrize(
    "environ", ODD, ids=lambda environ: " ".join(map("=".join, environ.items()))
)
def test_unusual_environment_is_detected_as_by_turbo(
    turbo_says: Callable[[Environ], Said], environ: Environ
) -> None:
    assert (detected_ci(environ), detected_agent(environ)) == turbo_says(environ)
