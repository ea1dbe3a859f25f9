"""Detection of CI, coding agent and terminal, as in `turbo`.

Names and environment variables are those of `turbo` 2.11 (its crates turborepo-ci and
turborepo-ai-agents), so that reports group events of both clients together.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# `turbo` names a CI only if one of these is set.
_IN_CI = (
    "BUILD_ID", "BUILD_NUMBER", "CI", "CI_APP_ID", "CI_BUILD_ID", "CI_BUILD_NUMBER", "CI_NAME",
    "CONTINUOUS_INTEGRATION", "RUN_ID", "TEAMCITY_VERSION",
)  # fmt: skip

# In turbo's order. NAME: must be set; NAME=VALUE: must have this value; A+B: both; A|B: either.
_CI = {
    "APPCIRCLE": "AC_APPCIRCLE",
    "APPVEYOR": "APPVEYOR",
    "CODEBUILD": "CODEBUILD_BUILD_ARN",
    "AZURE_PIPELINES": "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
    "BAMBOO": "bamboo_planKey",
    "BITBUCKET": "BITBUCKET_COMMIT",
    "BITRISE": "BITRISE_IO",
    "BUDDY": "BUDDY_WORKSPACE_ID",
    "BUILDKITE": "BUILDKITE",
    "CIRCLE": "CIRCLECI",
    "CIRRUS": "CIRRUS_CI",
    "CODEFRESH": "CF_BUILD_ID",
    "CODEMAGIC": "CM_BUILD_ID",
    "CODESHIP": "CI_NAME=codeship",
    "DRONE": "DRONE",
    "DSARI": "DSARI",
    "EAS": "EAS_BUILD",
    "GITHUB_ACTIONS": "GITHUB_ACTIONS",
    "GITLAB": "GITLAB_CI",
    "GOCD": "GO_PIPELINE_LABEL",
    "GOOGLE_CLOUD_BUILD": "BUILDER_OUTPUT",
    "LAYERCI": "LAYERCI",
    "GERRIT": "GERRIT_PROJECT",
    "HUDSON": "HUDSON",
    "JENKINS": "JENKINS_URL+BUILD_ID",
    "MAGNUM": "MAGNUM",
    "NETLIFY": "NETLIFY",
    "NEVERCODE": "NEVERCODE",
    "RELEASEHUB": "RELEASE_BUILD_ID",
    "RENDER": "RENDER",
    "SAIL": "SAILCI",
    "SCREWDRIVER": "SCREWDRIVER",
    "SEMAPHORE": "SEMAPHORE",
    "SHIPPABLE": "SHIPPABLE",
    "SOLANO": "TDDIUM",
    "SOURCEHUT": "CI_NAME=sourcehut",
    "STRIDER": "STRIDER",
    "TASKCLUSTER": "TASK_ID|RUN_ID",
    "TEAMCITY": "TEAMCITY_VERSION",
    "TRAVIS": "TRAVIS",
    "VERCEL": "NOW_BUILDER|VERCEL",
    "APPCENTER": "APPCENTER",
    "WOODPECKER": "CI=woodpecker",
    "XCODE_CLOUD": "CI_XCODE_PROJECT",
    "XCODE_SERVER": "XCS",
}

_AGENTS = {
    "cursor": "CURSOR_TRACE_ID",
    "cursor-cli": "CURSOR_AGENT",
    "gemini": "GEMINI_CLI",
    "codex": "CODEX_SANDBOX",
    "augment-cli": "AUGMENT_AGENT",
    "opencode": "OPENCODE_CLIENT|OPENCODE",
    "claude": "CLAUDECODE|CLAUDE_CODE",
    "replit": "REPL_ID",
}

_DEVIN = Path("/opt/.devin")


def detected_ci(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the CI that this process runs in, such as `GITHUB_ACTIONS`, or None."""
    if not any(environ.get(name) for name in _IN_CI):
        return None
    return _first(_CI, environ)


def detected_agent(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the coding agent that runs this process, such as `cursor`, or None."""
    if name := environ.get("AI_AGENT", "").strip():
        return name
    return _first(_AGENTS, environ) or ("devin" if _DEVIN.exists() else None)


def detected_interactive(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether standard output is a terminal, outside CI."""
    if any(environ.get(name) for name in _IN_CI):
        return False
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # standard output is missing or closed
        return False


def _first(table: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    return next((name for name, condition in table.items() if _matches(condition, environ)), None)


def _matches(condition: str, environ: Mapping[str, str]) -> bool:
    if "=" in condition:
        name, value = condition.split("=")
        return environ.get(name) == value
    if "+" in condition:
        return all(environ.get(name) for name in condition.split("+"))
    return any(environ.get(name) for name in condition.split("|"))
