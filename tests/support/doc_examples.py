"""Owns the examples of docs/client.md: finds them, and runs each as a user would."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"
RUN_TIMEOUT_S = 60


@dataclass(frozen=True)
class Example:
    """A block of code; `heading` is the one above it."""

    language: str
    heading: str
    code: str


def examples() -> list[Example]:
    """What is meant to be run; `console` and `text` are not."""
    found, heading = [], ""
    for match in re.finditer(r"(?m)^#+ (.+)$|^```(\w+)\n((?:.*\n)*?)```$", PAGE.read_text()):
        heading = match[1] or heading
        if match[2] in ("python", "sh"):
            found.append(Example(match[2], heading, match[3]))
    return found


def run(example: Example, programs: Path, folder: Path, server: Server) -> str:
    """Run it in `folder` with the commands of `programs`; what it printed and told."""
    program = folder / f"example.{example.language}"
    program.write_text(example.code)
    shell = {"python": [str(programs / "python"), "-W", "error"], "sh": ["sh", "-eu"]}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    done = subprocess.run(
        [*shell[example.language], str(program)],
        cwd=folder,
        env={
            **kept,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TURBO_API": server.url,
            "TURBO_TOKEN": server.token,
            "TURBO_TEAM": server.team,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
