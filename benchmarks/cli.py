"""The command line of the benchmarks."""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, rounds
from benchmarks.errors import MissingToolError
from benchmarks.measure import Bench
from benchmarks.node import find_node, install_peer
from benchmarks.scenarios import SCENARIOS, Scenario, beside_itself
from benchmarks.servers import Before, Contender, Hitrate, Peer
from benchmarks.wrk import require_wrk

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"

PASSED, MISSED, UNABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every target reached; 1: one was missed or a measurement failed; 2: a tool is missing."""
    asked = _parser().parse_args(arguments)
    try:
        require_wrk()
        contenders, versions = _contenders(asked.contenders, asked.before)
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return UNABLE
    asked.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=asked.data_dir.resolve()) as folder:
        bench = Bench(Path(folder), asked.seconds, asked.patience)
        chosen = asked.only if asked.before is None else tuple(map(beside_itself, asked.only))
        outcomes = [rounds.run(each, contenders, bench, asked.rounds) for each in chosen]
    machine = f"{os.cpu_count()} cores, {platform.machine()}; {versions}; {asked.seconds} s a run"
    if asked.json:
        print(report.as_json(outcomes, machine))
    else:
        report.print_table(outcomes, machine)
    return PASSED if report.all_passed(outcomes) else MISSED


def _contenders(which: str, before: Path | None) -> tuple[list[Contender], str]:
    """Who takes part, and their versions in words."""
    contenders: list[Contender] = []
    versions: list[str] = []
    if before is not None:
        contenders.append(Before(before))
        versions.append(f"peer hitrate of {before}")
    elif which in ("both", "peer"):
        node = find_node()
        contenders.append(Peer(node.binary, install_peer(node, HERE, CACHE / "bench-node")))
        versions.append(f"peer turborepo-remote-cache 2.12.0 on Node {node.version()}")
    if which in ("both", "hitrate"):
        contenders.append(Hitrate())
        versions.append(f"hitrate on Python {platform.python_version()}")
    return contenders, ", ".join(versions)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measures hitrate beside the npm package turborepo-remote-cache.",
    )
    parser.add_argument(
        "--seconds", type=_positive, default=8, help="length of each load (default %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=_positive, default=3, help="rounds of each scenario (default %(default)s)"
    )
    names = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument(
        "--only", type=_scenarios, default=SCENARIOS, metavar="NAME,...",
        help=f"scenarios to run (default: all of {names})",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", type=Path, default=CACHE / "bench-data",
        help="where the servers' data goes, on a real disk (default: .cache/bench-data)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=int, default=0, metavar="SECONDS",
        help="how long to wait for other programs to be quiet before each measurement, which is "
        "repeated when they were not (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT",
        help="measure beside another checkout of hitrate instead of the npm package: what a "
        "change costs, at most a tenth",
    )  # fmt: skip
    alone = parser.add_mutually_exclusive_group()
    for name in ("peer", "hitrate"):
        alone.add_argument(
            f"--{name}-only", dest="contenders", action="store_const", const=name, default="both",
            help=f"measure {name} alone; ratios are then not judged",
        )  # fmt: skip
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _scenarios(text: str) -> tuple[Scenario, ...]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; known: {', '.join(known)}"
        )
    return tuple(known[name] for name in names)
