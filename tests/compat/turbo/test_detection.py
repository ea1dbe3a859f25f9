"""`detected_ci` and `detected_agent` return the names that the real `turbo` sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hitrate.client.detection import _AGENTS, _CI, detected_agent, detected_ci
from tests.support import monorepo
from tests.support.monorepo import Monorepo
from tests.support.node_packages import NodePackages
from tests.support.strict_fake import StrictFake

Environ = dict[str, str]
# CI and agent.
Detected = tuple[str | None, str | None]

# Cases that the tables of `detection` do not cover: which values count, and names unknown to turbo.
SPECIAL_CASES: list[Environ] = [
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


def minimal_environments(table: dict[str, str]) -> Iterator[tuple[str, Environ]]:
    """Return each name with the variables of its condition, once for each alternative."""
    for name, condition in table.items():
        for alternative in condition.split("|"):
            pairs = (variable.partition("=") for variable in alternative.split("+"))
            yield name, {variable: value or "1" for variable, _, value in pairs}


def cumulative_environments(table: dict[str, str]) -> Iterator[tuple[str, Environ]]:
    """Return each name with its variables and those of all later names, which it must win over."""
    following: Environ = {}
    for name, environ in reversed(list(minimal_environments(table))):
        following = following | environ
        yield name, following


@pytest.fixture(scope="module")
def detect_with_turbo(
    node_packages: NodePackages,
    templates: dict[str, Monorepo],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Environ], Detected]]:
    """A function that runs turbo with variables, and returns the CI and agent that it sends."""
    turbo = node_packages.turbo("turbo")
    repo = templates["tasks"].copy_to(tmp_path_factory.mktemp("detection") / "repo")

    def detect_with_turbo(environ: Environ) -> Detected:
        fake.requests.clear()
        # With --force it sends only uploads, which have both headers.
        command = ("lint", "--filter=app-1", "--force")
        run = monorepo.run(turbo, repo, *command, env={**remote, **environ})
        assert run.returncode == 0, run.stdout + run.stderr
        [upload] = [request for request in fake.requests if request.method == "PUT"]
        agent = upload.headers.get("x-ai-agent")
        # turbo sends UTF-8, which the fake decodes as Latin-1.
        name = None if agent is None else agent.encode("latin-1").decode()
        return upload.headers.get("x-artifact-client-ci"), name

    with StrictFake() as fake:
        remote = {"TURBO_API": fake.url, "TURBO_TOKEN": fake.token, "TURBO_TEAM": fake.slug}
        yield detect_with_turbo


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        *((name, {"CI": "1", **environ}) for name, environ in minimal_environments(_CI)),
        *((name, {"CI": "1", **environ}) for name, environ in cumulative_environments(_CI)),
    ],
)
def test_each_ci_is_named_as_by_turbo(
    detect_with_turbo: Callable[[Environ], Detected], name: str, environ: Environ
) -> None:
    assert detect_with_turbo(environ)[0] == detected_ci(environ) == name


@pytest.mark.parametrize(
    ("name", "environ"), [*minimal_environments(_AGENTS), *cumulative_environments(_AGENTS)]
)
def test_each_agent_is_named_as_by_turbo(
    detect_with_turbo: Callable[[Environ], Detected], name: str, environ: Environ
) -> None:
    assert detect_with_turbo(environ)[1] == detected_agent(environ) == name


@pytest.mark.parametrize(
    "environ", SPECIAL_CASES, ids=lambda environ: " ".join(map("=".join, environ.items()))
)
def test_unusual_environment_is_detected_as_by_turbo(
    detect_with_turbo: Callable[[Environ], Detected], environ: Environ
) -> None:
    assert (detected_ci(environ), detected_agent(environ)) == detect_with_turbo(environ)
