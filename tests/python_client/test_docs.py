"""The examples of docs/client.md run, and print what the page documents."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import doc_examples
from tests.support.doc_examples import Example, examples
from tests.support.server import Server, eventually

BIN_DIR = Path(sys.executable).parent
Run = Callable[[Example], str]


@pytest.fixture
def run(tmp_path: Path, shared_server: Server) -> Run:
    return lambda example: doc_examples.run_example(example, BIN_DIR, tmp_path, shared_server)


def example_with(text: str) -> Example:
    [match] = [example for example in examples() if text in example.code]
    return match


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.heading)
def test_each_example_of_the_client_page_runs(run: Run, example: Example) -> None:
    run(example)


def test_first_example_records_its_event(run: Run, shared_server: Server) -> None:
    run(example_with("RequestBody("))
    session = "a758e8fc-6346-41c8-b96b-665cbd05aa43"
    recorded = eventually(lambda: shared_server.events(sessionId=session))
    assert (recorded[0]["duration"], recorded[0]["ci"]) == (400, "GITHUB_ACTIONS")


def test_recorder_example_prints_the_documented_counts(run: Run) -> None:
    example = example_with("recorder.counts")
    assert run(example).strip() == example.code.split("# ")[1].strip()


def test_exec_example_is_restored_from_the_cache(server: Server, tmp_path: Path) -> None:
    example = example_with("hitrate exec")
    miss, hit, output = doc_examples.run_example(example, BIN_DIR, tmp_path, server).splitlines()
    assert miss.startswith("hitrate: not in the cache; ran in ")
    assert hit.startswith("hitrate: restored from the cache (1 file, ")
    assert output == "HELLO"


def test_function_example_runs_once(server: Server, tmp_path: Path) -> None:
    example = example_with("def count()")
    output = doc_examples.run_example(example, BIN_DIR, tmp_path, server)
    assert output.split() == ["miss", "3", "hit", "None"]
