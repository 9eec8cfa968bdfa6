# ruff: noqa: F811
"""A module that never finishes importing costs its own route, and nobody anything else."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import time

import pytest
from functions.test_reload import ECHO, bot, routes, site, until  # noqa: F401

from jupyter_wshandler.cli.check import check
from jupyter_wshandler.functions import modules, patience


@pytest.fixture
def gate(tmp_path):
    """Return source that hangs until the test is over."""
    path = tmp_path / "gate"
    yield f"import os, time\nwhile not os.path.exists({str(path)!r}):\n    time.sleep(0.01)\n"
    path.touch()
    deadline = time.monotonic() + 10
    while [t for t in threading.enumerate() if t.name.startswith("wshandler-import")]:
        assert time.monotonic() < deadline, "an import outlived the test"
        time.sleep(0.01)


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(modules, "IMPORT_LIMIT", 1.0)


async def test_an_import_that_never_ends_is_given_up_named_and_the_next_save_is_served(
    site,
    gate,
    limit,
):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.write("one.py", gate)
    async with asyncio.timeout(8):
        result = await site.manager.reload()
    assert "given up" in result.errors[0]
    assert "one.py:3 (time.sleep(0.01))" in result.errors[0]
    assert site.answer("a") == "v1"
    site.write("one.py", ECHO.format(answer="v3"))
    async with asyncio.timeout(8):
        await site.manager.reload()
    assert site.answer("a") == "v3"


async def test_a_save_during_an_import_that_hangs_is_tried_long_before_the_limit(
    site,
    gate,
):
    assert patience.IMPORT_LIMIT == 60
    await site.start(
        routes(a=bot("one")), one="import helper\n" + ECHO.format(answer="v1"), helper=""
    )
    site.write("helper.py", gate)
    reload = asyncio.create_task(site.manager.reload())
    await until(lambda: [t for t in threading.enumerate() if t.name.startswith("wshandler-import")])
    await asyncio.sleep(0.2)
    site.write("helper.py", "")
    site.write("one.py", "import helper\n" + ECHO.format(answer="v2"))
    async with asyncio.timeout(10):
        await reload
    assert site.answer("a") == "v2"


async def test_an_abandoned_import_that_fails_later_leaves_the_newer_version(
    site,
    gate,
    limit,
    tmp_path,
):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.write("one.py", gate + "raise ValueError('late')\n")
    await site.manager.reload()
    site.write("one.py", ECHO.format(answer="v3"))
    await site.manager.reload()
    newer = sys.modules["one"]
    (tmp_path / "gate").touch()
    await until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith("wshandler-import")]
    )
    assert sys.modules["one"] is newer
    assert site.answer("a") == "v3"


async def test_a_server_starts_without_the_route_whose_module_hangs(site, gate, limit):
    yaml = routes(a=bot("one"), b=bot("two"), c=bot("three"))
    hung = "import helper\n"
    await site.start(yaml, one=hung, two=ECHO.format(answer="ok"), three=hung, helper=gate)
    states = {route.name: route.state for route in site.manager.table}
    assert states == {"a": "broken", "b": "ready", "c": "broken"}
    assert "helper.py:3" in site.manager.table.get("a").error
    assert site.answer("b") == "ok"


async def test_a_handshake_on_a_broken_route_waits_two_seconds_for_its_import(site, gate):
    await site.start(routes(a=bot("one")))
    site.write("one.py", gate)
    began = time.monotonic()
    assert not await site.manager.heal(site.manager.table.get("a"))
    assert time.monotonic() - began < 5
    (site.folder / "gate").touch()


@pytest.mark.parametrize("what", ["SystemExit", "KeyboardInterrupt"])
async def test_a_module_that_raises_to_end_the_process_breaks_its_route_only(site, what):
    await site.start(
        routes(a=bot("one"), b=bot("two")), one=f"raise {what}(3)\n", two=ECHO.format(answer="ok")
    )
    assert what in site.manager.table.get("a").error
    assert site.answer("b") == "ok"


def test_check_names_the_module_that_hangs_and_fails(tmp_path, gate, limit, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "stuck.py").write_text(gate)
    (tmp_path / "site.yaml").write_text(routes(a=bot("stuck")))
    out = io.StringIO()
    assert check([str(tmp_path / "site.yaml")], stream=out) == 1
    assert "given up" in out.getvalue()
    assert "stuck.py:3" in " ".join(out.getvalue().split())
