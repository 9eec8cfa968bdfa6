"""Write the report: a page in Markdown, the figures as SVG, and every number as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import goals, launch, parts, plots, report
from benchmarks.compiled import BUILD
from benchmarks.figures import Figure

REPORTS = launch.CHECKOUT / "docs" / "benchmarks"
PAGE, DATA = "README.md", "results.json"

DRAWN = (
    *("echo-64-1", "echo-64-16", "echo-4096-1", "active-few", "active-many", "connect"),
    *("idle", "idle-deflate", "fanout-many", "rooms-1", "rooms-4", "scale-1", "scale-4"),
    *("tls-64-1", "tls-64-16", "storm-p99", "kernels-rate", "kernels-trip"),
)
"""The figures that are drawn, in the order of the page. The tables have the others."""


def folder(options: argparse.Namespace) -> Path:
    """Return the folder of the report, which is there then.

    A part of the measurements never replaces the published results.

    Args:
        options: From the command line.
    """
    found: Path = options.output or (REPORTS if options.whole else BUILD / "partial")
    found.mkdir(parents=True, exist_ok=True)
    return found


def write(
    place: Path, heading: str, results: report.Results, outcomes: Sequence[parts.Outcome]
) -> list[goals.Verdict]:
    """Write the report; return the goals and whether they are met.

    Args:
        place: Its folder. Figures of an earlier run go.
        heading: What was measured, on what.
        results: The tables of servers.
        outcomes: What the other benchmarks have said.
    """
    figures = [*report.figures(results), *(one for part in outcomes for one in part.figures)]
    verdicts = goals.judge(figures)
    for old in place.glob("*.svg"):
        old.unlink()
    drawn = sorted((one for one in figures if one.key in DRAWN), key=_order)
    for figure in drawn:
        (place / f"{figure.key}.svg").write_text(plots.draw(figure), encoding="utf-8")
    sections = [heading]
    if verdicts:
        sections += ["## Goals", goals.table(verdicts)]
    if drawn:
        sections += ["## At a glance", "\n".join(_image(figure) for figure in drawn)]
    sections += [report.tables(results), *(parts.section(outcome) for outcome in outcomes)]
    sections += [report.ending(results)]
    text = "\n\n".join(section for section in sections if section)
    (place / PAGE).write_text(f"{text}\n", encoding="utf-8")
    (place / DATA).write_text(_data(figures, results), encoding="utf-8")
    return verdicts


def _order(figure: Figure) -> int:
    return DRAWN.index(figure.key)


def _image(figure: Figure) -> str:
    return f"![{figure.title}]({figure.key}.svg)"


def _data(figures: Sequence[Figure], results: report.Results) -> str:
    """Return all numbers as JSON, a line for each figure and for each slice."""
    lists = {
        "figures": [figure.told() for figure in figures],
        "slices": results.slices,
    }
    parts_of = [
        f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in found) + "\n]"
        for name, found in lists.items()
    ]
    return "{\n" + ",\n".join(parts_of) + "\n}\n"
