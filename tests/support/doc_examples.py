"""Code examples of docs/client.md, which tests run as a user would."""

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
    """A block of code, and the heading above it."""

    language: str
    heading: str
    code: str


def examples() -> list[Example]:
    """Return the blocks in `python` and `sh`; `console` and `text` blocks are not runnable."""
    blocks, heading = [], ""
    for match in re.finditer(r"(?m)^#+ (.+)$|^```(\w+)\n((?:.*\n)*?)```$", PAGE.read_text()):
        heading = match[1] or heading
        if match[2] in ("python", "sh"):
            blocks.append(Example(match[2], heading, match[3]))
    return blocks


def run_example(example: Example, bin_dir: Path, directory: Path, server: Server) -> str:
    """Run an example in `directory` with the programs in `bin_dir`.

    Return what it wrote to standard output and standard error. It must succeed.
    """
    script = directory / f"example.{example.language}"
    script.write_text(example.code)
    interpreters = {"python": [str(bin_dir / "python"), "-W", "error"], "sh": ["sh", "-eu"]}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TURBO_")}
    process = subprocess.run(
        [*interpreters[example.language], str(script)],
        cwd=directory,
        env={
            **inherited,
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
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
    assert process.returncode == 0, process.stdout
    return process.stdout
