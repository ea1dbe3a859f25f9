"""Bar charts of hit rates and task outcomes for a terminal. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from hitrate.api_schemas import TaskStats
from hitrate.cli.output import rate_text

_RATE_WIDTH = 20
_MIN_BAR_WIDTH = 10
_MAX_BAR_WIDTH = 60


@dataclass(frozen=True)
class Glyphs:
    """Characters of bars. They distinguish outcomes without color."""

    local: str
    remote: str
    miss: str
    empty: str


BLOCKS = Glyphs("█", "▓", "░", "·")
LETTERS = Glyphs("#", "=", "-", ".")
"""Glyphs for output encodings without block characters."""

_COLORS = ("green", "cyan", "yellow")


def chart(intervals: Sequence[tuple[str, TaskStats]], width: int, glyphs: Glyphs) -> list[str]:
    """Return a title, and a line for each named interval: hit rate, and tasks by outcome."""
    name_width = max(len(name) for name, _ in intervals)
    max_tasks = max(stats.tasks for _, stats in intervals)
    digits = max(len(f"{max_tasks:,}"), len("tasks"))
    bar_width = width - name_width - _RATE_WIDTH - digits - len("  100.0 %    ") - 2
    bar_width = min(max(bar_width, _MIN_BAR_WIDTH), _MAX_BAR_WIDTH)
    title = (
        f"{'':{name_width}}  {'hit rate':{_RATE_WIDTH + 9}}  {'tasks':>{digits}}  {_legend(glyphs)}"
    )
    return [
        title,
        *(
            f"{name:{name_width}}  {_rate_bar(stats, glyphs)} {rate_text(stats.hit_rate):>8}  "
            f"{stats.tasks:>{digits},}  "
            f"{_outcome_bar(stats, max_tasks, bar_width, glyphs)}".rstrip()
            for name, stats in intervals
        ),
    ]


def _legend(glyphs: Glyphs) -> str:
    marks = (glyphs.local, glyphs.remote, glyphs.miss)
    names = ("local", "remote", "miss")
    return "  ".join(
        f"{click.style(mark, fg=color)} {name}"
        for mark, name, color in zip(marks, names, _COLORS, strict=True)
    )


def _rate_bar(stats: TaskStats, glyphs: Glyphs) -> str:
    if stats.hit_rate is None:
        return " " * _RATE_WIDTH
    full = round(stats.hit_rate * _RATE_WIDTH)
    return click.style(glyphs.local * full, fg="green") + glyphs.empty * (_RATE_WIDTH - full)


def _outcome_bar(stats: TaskStats, max_tasks: int, bar_width: int, glyphs: Glyphs) -> str:
    """Return a bar whose length is proportional to the tasks, and at least one character."""
    if not stats.tasks:
        return ""
    length = max(1, round(stats.tasks * bar_width / max_tasks))
    boundaries = [round(n * length / stats.tasks) for n in (0, stats.local_hits, stats.hits)]
    boundaries.append(length)
    marks = (glyphs.local, glyphs.remote, glyphs.miss)
    return "".join(
        click.style(mark * (end - start), fg=color)
        for mark, color, start, end in zip(marks, _COLORS, boundaries, boundaries[1:], strict=False)
        if end > start
    )
