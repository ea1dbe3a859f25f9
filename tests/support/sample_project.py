"""Owns a small real project to build: in C, with make, or in Python where there is no compiler.

Promises that each step of a build adds a line to `build.log`, which is neither input nor output,
that what is newer than its sources is not made again, and that the program made says `hello`.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

LOG = "build.log"
OUTPUTS = "dist"

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
made = {app: sources, **{Path("dist/obj", f"{source.stem}.o"): [source] for source in sources}}


def is_old(target):
    return not target.exists() or any(
        source.stat().st_mtime_ns > target.stat().st_mtime_ns for source in made[target]
    )


old = [target for target in made if is_old(target)]
if "-q" in sys.argv:
    sys.exit(bool(old))
for target in reversed(old):
    target.parent.mkdir(parents=True, exist_ok=True)
    words = " ".join(source.read_text() for source in made[target])
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
KINDS = [
    kind for kind in FILES if kind == "python" or (shutil.which("cc") and shutil.which("make"))
]


@dataclass(frozen=True)
class Project:
    """One checkout."""

    folder: Path
    command: tuple[str, ...]
    inputs: tuple[str, ...]

    def options(self) -> list[str]:
        """What `hitrate exec` is told of it, the command last."""
        told = [part for glob in self.inputs for part in ("--inputs", glob)]
        return [*told, "--outputs", OUTPUTS, "--", *self.command]

    def steps(self) -> list[str]:
        """What has been made here so far, in order."""
        log = self.folder / LOG
        return log.read_text().splitlines() if log.exists() else []

    def is_up_to_date(self) -> bool:
        """What the build tool says of it."""
        return subprocess.run([*self.command, "-q"], cwd=self.folder, check=False).returncode == 0

    def says(self) -> str:
        """What the program made here says."""
        return subprocess.check_output([self.folder / OUTPUTS / "app"], text=True).strip()

    def copy_to(self, folder: Path) -> Project:
        """Another checkout: the same sources, nothing made."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("dist", LOG, ".hitrate"))
        return replace(self, folder=folder)


def write(folder: Path, kind: str = KINDS[0]) -> Project:
    """A new project, of the kind that this machine can best build."""
    for name, content in FILES[kind].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    tops = {name.partition("/")[0] for name in FILES[kind]}
    inputs = tuple(f"{top}/**" if (folder / top).is_dir() else top for top in sorted(tops))
    return Project(folder, COMMANDS[kind], inputs)


def snapshot(folder: Path) -> dict[str, tuple[str, bytes | str]]:
    """All that is in a folder: of each name what it is, and its content or a link's target."""
    return {path.relative_to(folder).as_posix(): _state(path) for path in folder.rglob("*")}


def leftovers(folder: Path) -> set[str]:
    """What runs have left in a project's work folder, but for what belongs there."""
    names = {path.name for path in (folder / ".hitrate").iterdir()} - {".gitignore"}
    return {name for name in names if not name.endswith(".lock")}


def _state(path: Path) -> tuple[str, bytes | str]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", str(path.readlink())
    if stat.S_ISDIR(mode):
        return "folder", b""
    if not stat.S_ISREG(mode):
        return "special", b""
    return ("program" if mode & stat.S_IXUSR else "file"), path.read_bytes()
