"""A small real project to build: in C with make, or in Python without a compiler.

Each step of a build adds a line to `build.log`, which is neither input nor output. Targets that are
newer than their sources are not rebuilt. The resulting program prints `hello`.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

BUILD_LOG = "build.log"
OUTPUT_DIR = "dist"

MAKEFILE = """\
OBJECTS = dist/obj/main.o dist/obj/greet.o

dist/app: $(OBJECTS)
	cc -o $@ $(OBJECTS)
	echo $@ >> build.log

dist/obj/%.o: src/%.c src/greet.h Makefile
	mkdir -p dist/obj
	cc -c -o $@ $<
	echo $@ >> build.log
"""

BUILD_PY = """\
import sys
from pathlib import Path

sources, app = sorted(Path("src").glob("*.txt")), Path("dist/app")
rules = {app: sources, **{Path("dist/obj", f"{source.stem}.o"): [source] for source in sources}}


def is_stale(target):
    return not target.exists() or any(
        source.stat().st_mtime_ns > target.stat().st_mtime_ns for source in rules[target]
    )


stale = [target for target in rules if is_stale(target)]
if "-q" in sys.argv:
    sys.exit(bool(stale))
for target in reversed(stale):
    target.parent.mkdir(parents=True, exist_ok=True)
    words = " ".join(source.read_text() for source in rules[target])
    target.write_text(f"#!/bin/sh\\necho {words}\\n")
    with open("build.log", "a") as log:
        print(target, file=log)
app.chmod(0o755)
"""

FILES = {
    "c": {
        "Makefile": MAKEFILE,
        "src/greet.h": "void greet(void);\n",
        "src/greet.c": '#include <stdio.h>\nvoid greet(void) { puts("hello"); }\n',
        "src/main.c": '#include "greet.h"\nint main(void) { greet(); return 0; }\n',
    },
    "python": {"build.py": BUILD_PY, "src/greet.txt": "hello"},
}
COMMANDS = {"c": ("make",), "python": (sys.executable, "build.py")}
AVAILABLE_KINDS = [
    kind for kind in FILES if kind == "python" or (shutil.which("cc") and shutil.which("make"))
]


@dataclass(frozen=True)
class Project:
    """One checkout."""

    directory: Path
    command: tuple[str, ...]
    inputs: tuple[str, ...]

    def exec_arguments(self) -> list[str]:
        """Return the arguments of `hitrate exec`: options, then the command."""
        options = [part for glob in self.inputs for part in ("--inputs", glob)]
        return [*options, "--outputs", OUTPUT_DIR, "--", *self.command]

    def build_steps(self) -> list[str]:
        """Return the targets that were built here, in order."""
        log = self.directory / BUILD_LOG
        return log.read_text().splitlines() if log.exists() else []

    def is_up_to_date(self) -> bool:
        """Return whether the build tool would rebuild nothing."""
        return (
            subprocess.run([*self.command, "-q"], cwd=self.directory, check=False).returncode == 0
        )

    def program_output(self) -> str:
        """Run the resulting program and return what it prints."""
        return subprocess.check_output([self.directory / OUTPUT_DIR / "app"], text=True).strip()

    def copy_to(self, directory: Path) -> Project:
        """Return another checkout, with the same sources and without any outputs."""
        ignored = shutil.ignore_patterns("dist", BUILD_LOG, ".hitrate")
        shutil.copytree(self.directory, directory, ignore=ignored)
        return replace(self, directory=directory)


def create(directory: Path, kind: str = AVAILABLE_KINDS[0]) -> Project:
    """Create a project of the first kind that can be built on this machine, or of `kind`."""
    for name, content in FILES[kind].items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    tops = {name.partition("/")[0] for name in FILES[kind]}
    inputs = tuple(f"{top}/**" if (directory / top).is_dir() else top for top in sorted(tops))
    return Project(directory, COMMANDS[kind], inputs)


def snapshot(directory: Path) -> dict[str, tuple[str, bytes | str]]:
    """Return everything in a directory by name: the type, and the content or a link's target."""
    return {path.relative_to(directory).as_posix(): _state(path) for path in directory.rglob("*")}


def leftover_files(directory: Path) -> set[str]:
    """Return files in a project's work directory that finished runs should have removed."""
    names = {path.name for path in (directory / ".hitrate").iterdir()} - {".gitignore"}
    return {name for name in names if not name.endswith(".lock")}


def _state(path: Path) -> tuple[str, bytes | str]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", str(path.readlink())
    if stat.S_ISDIR(mode):
        return "directory", b""
    if not stat.S_ISREG(mode):
        return "special", b""
    return ("executable" if mode & stat.S_IXUSR else "file"), path.read_bytes()
