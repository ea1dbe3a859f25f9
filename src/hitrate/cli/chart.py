"""Bars over time, for a terminal: the hit rate, and what became of the tasks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from hitrate.api_schemas import TaskStats
from hitrate.cli.output import rate_text

_RATE_WIDTH = 20
_NARROWEST = 10
_WIDEST = 60


@dataclass(frozen=True)
class Ink:
    """The characters of bars, so that they also tell outcomes apart without colours."""

    local: str
    remote: str
    miss: str
    empty: str


BLOCKS = Ink("█", "▓", "░", "·")
LETTERS = Ink("#", "=", "-", ".")
"""For an output that has no blocks."""

_COLOURS = ("green", "cyan", "yellow")


def chart(named: Sequence[tuple[str, TaskStats]], width: int, ink: Ink) -> list[str]:
    """A line for each part of the period: name, hit rate, and tasks by outcome."""
    longest = max(len(name) for name, _ in named)
    most = max(stats.tasks for _, stats in named)
    digits = max(len(f"{most:,}"), len("tasks"))
    room = width - longest - _RATE_WIDTH - digits - len("  100.0 %    ") - 2
    room = min(max(room, _NARROWEST), _WIDEST)
    title = f"{'':{longest}}  {'hit rate':{_RATE_WIDTH + 9}}  {'tasks':>{digits}}  {_legend(ink)}"
    return [
        title,
        *(
            f"{name:{longest}}  {_rate_bar(stats, ink)} {rate_text(stats.hit_rate):>8}  "
            f"{stats.tasks:>{digits},}  {_outcome_bar(stats, most, room, ink)}".rstrip()
            for name, stats in named
        ),
    ]


def _legend(ink: Ink) -> str:
    marks = (ink.local, ink.remote, ink.miss)
    names = ("local", "remote", "missed")
    return "  ".join(
        f"{click.style(mark, fg=colour)} {name}"
        for mark, name, colour in zip(marks, names, _COLOURS, strict=True)
    )


def _rate_bar(stats: TaskStats, ink: Ink) -> str:
    if stats.hit_rate is None:
        return " " * _RATE_WIDTH
    full = round(stats.hit_rate * _RATE_WIDTH)
    return click.style(ink.local * full, fg="green") + ink.empty * (_RATE_WIDTH - full)


def _outcome_bar(stats: TaskStats, most: int, room: int, ink: Ink) -> str:
    """As long as the tasks are many; where there is any task there is something to see."""
    if not stats.tasks:
        return ""
    whole = max(1, round(stats.tasks * room / most))
    ends = [round(part * whole / stats.tasks) for part in (0, stats.local_hits, stats.hits)] + [
        whole
    ]
    marks = (ink.local, ink.remote, ink.miss)
    return "".join(
        click.style(mark * (end - start), fg=colour)
        for mark, colour, start, end in zip(marks, _COLOURS, ends, ends[1:], strict=False)
        if end > start
    )
