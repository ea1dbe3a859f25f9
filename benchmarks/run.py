"""`python benchmarks/run.py`: measure hitrate next to its npm peer, or next to another checkout."""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    # Replaces this directory, whose modules must only be importable as `benchmarks.…`.
    sys.path[0] = str(HERE.parent)

from benchmarks import report, rounds
from benchmarks.errors import MissingToolError
from benchmarks.measure import RunConfig
from benchmarks.node import find_node, install_peer
from benchmarks.scenarios import SCENARIOS, Scenario, for_checkout
from benchmarks.servers import Contender, Hitrate, HitrateCheckout, Peer
from benchmarks.wrk import require_wrk

CACHE = HERE.parent / ".cache"

EXIT_PASSED, EXIT_MISSED, EXIT_TOOL_MISSING = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and return the exit code.

    0: every target is reached; 1: a target is missed or a measurement failed; 2: a tool is missing.
    """
    args = _parser().parse_args(arguments)
    try:
        require_wrk()
        contenders, versions = _contenders(args.contenders, args.before)
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return EXIT_TOOL_MISSING
    args.data_dir.mkdir(parents=True, exist_ok=True)
    scenarios = args.only if args.before is None else tuple(map(for_checkout, args.only))
    with tempfile.TemporaryDirectory(prefix="run-", dir=args.data_dir.resolve()) as directory:
        config = RunConfig(Path(directory), args.seconds, args.quiet_timeout)
        outcomes = [rounds.run(each, contenders, config, args.rounds) for each in scenarios]
    machine = f"{os.cpu_count()} cores, {platform.machine()}; {versions}; {args.seconds} s per load"
    if args.json:
        print(report.to_json(outcomes, machine))
    else:
        report.print_table(outcomes, machine)
    return EXIT_PASSED if report.all_passed(outcomes) else EXIT_MISSED


def _contenders(selection: str, before: Path | None) -> tuple[list[Contender], str]:
    """Return the programs to measure, and a text with their versions. Raises MissingToolError."""
    contenders: list[Contender] = []
    versions: list[str] = []
    if before is not None:
        contenders.append(HitrateCheckout(before))
        versions.append(f"peer hitrate of {before}")
    elif selection in ("both", "peer"):
        node = find_node()
        contenders.append(Peer(node.binary, install_peer(node, HERE, CACHE / "bench-node")))
        versions.append(f"peer turborepo-remote-cache 2.12.0 on Node {node.version()}")
    if selection in ("both", "hitrate"):
        contenders.append(Hitrate())
        versions.append(f"hitrate on Python {platform.python_version()}")
    return contenders, ", ".join(versions)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measure hitrate next to the npm package turborepo-remote-cache.",
    )
    parser.add_argument(
        "--seconds", type=_positive, default=8, help="duration of each load (default %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=_positive, default=3, help="rounds per scenario (default %(default)s)"
    )
    names = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument(
        "--only", type=_scenarios, default=SCENARIOS, metavar="NAME,...",
        help=f"scenarios to run (default: all of {names})",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", type=Path, default=CACHE / "bench-data",
        help="directory for the servers' data, on a real disk (default: .cache/bench-data)",
    )  # fmt: skip
    parser.add_argument(
        "--quiet-timeout", type=int, default=0, metavar="SECONDS",
        help="how long to wait before each measurement until other programs are idle; a "
        "measurement that they disturb is then repeated (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT",
        help="compare with another checkout of hitrate instead of the npm package; rates may be "
        "at most a tenth lower",
    )  # fmt: skip
    only = parser.add_mutually_exclusive_group()
    for name in ("peer", "hitrate"):
        only.add_argument(
            f"--{name}-only", dest="contenders", action="store_const", const=name, default="both",
            help=f"measure {name} only; ratios are then not checked",
        )  # fmt: skip
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _scenarios(text: str) -> tuple[Scenario, ...]:
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    names = text.split(",")
    if unknown := [name for name in names if name not in scenarios]:
        raise argparse.ArgumentTypeError(
            f"unknown scenario {', '.join(unknown)}; choose from {', '.join(scenarios)}"
        )
    return tuple(scenarios[name] for name in names)


if __name__ == "__main__":
    sys.exit(main())
