"""What was measured, as figures: bars of several servers, and the values of each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import BenchmarkError

MICROSECONDS = "us"


@dataclass(frozen=True)
class Bar:
    """One server in a figure: a value for each slice or round, None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Figure:
    """Several servers in one measurement, whose values stand beside each other in time.

    Args:
        key: What goals and files call it.
        title: What people call it.
        unit: Of the values.
        bars: The servers by their keys, in their order.
        of: The bar that the others are compared with; empty where the values stand for themselves.
    """

    key: str
    title: str
    unit: str
    bars: dict[str, Bar] = field(default_factory=dict)
    of: str = ""

    def values(self, bar: str) -> list[float]:
        """Return what was measured of a bar; nothing where there is none.

        Args:
            bar: Its key.
        """
        found = self.bars[bar].values if bar in self.bars else ()
        return [value for value in found if value is not None]

    def ratios(self, bar: str, of: str) -> list[float]:
        """Return a bar's values relative to another's of the same time.

        Args:
            bar: Its key.
            of: The other's.
        """
        if bar not in self.bars or of not in self.bars:
            return []
        pairs = zip(self.bars[bar].values, self.bars[of].values, strict=True)
        return [mine / other for mine, other in pairs if mine is not None and other]

    def shown(self, bar: str) -> list[float]:
        """Return what is drawn of a bar: ratios, or values where there is nothing to compare with.

        Args:
            bar: Its key.
        """
        return self.ratios(bar, self.of) if self.of else self.values(bar)

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        bars = {key: {"name": bar.name, "values": [*bar.values]} for key, bar in self.bars.items()}
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "of": self.of,
            "bars": bars,
        }


def write(path: Path, figures: Sequence[Figure]) -> None:
    """Write figures where `make bench` looks for them.

    Args:
        path: The file.
        figures: What was measured.
    """
    text = json.dumps([figure.told() for figure in figures], indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> list[Figure]:
    """Return the figures of a file.

    Args:
        path: A list of figures in JSON.

    Raises:
        BenchmarkError: It is none.
    """
    try:
        return [_figure(found) for found in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise BenchmarkError(f"{path.name} holds no figures: {exc!r}") from None


def _figure(found: dict[str, Any]) -> Figure:
    bars = {
        str(key): Bar(plain(bar["name"]), [None if v is None else float(v) for v in bar["values"]])
        for key, bar in found["bars"].items()
    }
    if len({len(bar.values) for bar in bars.values()}) > 1 and found.get("of"):
        raise ValueError(f"{found['key']}: the bars have different numbers of values")
    key, title = str(found["key"]), str(found["title"])
    return Figure(key, title, str(found.get("unit", "")), bars, str(found.get("of", "")))


def plain(title: str) -> str:
    """Return a row's title without the marks of Markdown.

    Args:
        title: As a table has it.
    """
    return title.replace("*", "").replace("`", "")


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and half of the range.

    Args:
        values: One or more.
    """
    return statistics.median(values), (max(values) - min(values)) / 2


def short(value: float) -> str:
    """Return a number with as many digits as mean something.

    Args:
        value: The number, 0 or more.
    """
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
