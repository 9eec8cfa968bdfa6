#!/usr/bin/env bash
# prometheus-client 0.26.0: its decorators see nothing of an `async def`, nor of a generator.
#
# Guess:  `@HISTOGRAM.time()`, `@GAUGE.track_inprogress()` and `@COUNTER.count_exceptions()` work
#         on an `async def` as on a `def`, or refuse it: they time it until it has returned.
# Seen:   no error. They are over when the coroutine or generator has been made: a wait of 0.3
#         seconds is counted as one call of next to no time, none is in progress, no exception is
#         counted. The same three as `with` blocks inside the function see all of it.
# Why:    callbacks that wait for a language model are `async def` or yield their words. A chart of
#         their times is perfect, and the alarm for their errors never rings.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check prometheus-client==0.26.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BLIND = {"calls": 1, "took long": False, "in progress": 0, "exceptions": 0}
SIGHTED = {"calls": 1, "took long": True, "in progress": 1, "exceptions": 1}
EXPECTED = {
    "def": SIGHTED,
    "async def": BLIND,
    "generator": BLIND,
    "async generator": BLIND,
    "async def, with": SIGHTED,
}


def measure(name):
    registry = CollectorRegistry()
    took = Histogram("took", "Seconds", registry=registry)
    running = Gauge("running", "In progress", registry=registry)
    errors = Counter("errors", "Exceptions", registry=registry)
    value = registry.get_sample_value
    seen = {}

    def middle():
        seen["in progress"] = int(value("running"))
        return "word"

    def plain():
        time.sleep(0.3)
        middle()
        raise ValueError("no such model")

    async def coroutine():
        await asyncio.sleep(0.3)
        middle()
        raise ValueError("no such model")

    def generator():
        time.sleep(0.3)
        yield middle()
        raise ValueError("no such model")

    async def async_generator():
        await asyncio.sleep(0.3)
        yield middle()
        raise ValueError("no such model")

    async def inside():
        with took.time(), running.track_inprogress(), errors.count_exceptions():
            await coroutine()

    def decorated(function):
        function = errors.count_exceptions()(function)
        return took.time()(running.track_inprogress()(function))

    async def words():
        return [word async for word in decorated(async_generator)()]

    calls = {
        "def": lambda: decorated(plain)(),
        "async def": lambda: asyncio.run(decorated(coroutine)()),
        "generator": lambda: list(decorated(generator)()),
        "async generator": lambda: asyncio.run(words()),
        "async def, with": lambda: asyncio.run(inside()),
    }
    try:
        calls[name]()
    except ValueError:
        pass
    return {
        "calls": int(value("took_count")),
        "took long": value("took_sum") > 0.2,
        "in progress": seen["in progress"],
        "exceptions": int(value("errors_total")),
    }


seen = {name: measure(name) for name in EXPECTED}
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"prometheus-client behaves differently now; this finding said {EXPECTED}")
PY
