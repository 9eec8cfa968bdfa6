"""Reloading on a real server: what a person saves is served, and nobody loses a connection."""

from __future__ import annotations

import asyncio
import json
import os
import re

import pytest
from support.endurance import sizes
from support.server import running_server, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus

BASE = """
url:
  steady:
    pattern: /steady
    handler: WebSocketHandler
    kwargs: {on_message: steady.on_message}
"""

STEADY = "def on_message(handler, message):\n    return 'steady ' + message\n"


def route(name: str, kwargs: str, pattern: str | None = None) -> str:
    return (
        f"  {name}:\n    pattern: {pattern or '/' + name}\n"
        f"    handler: WebSocketHandler\n    kwargs: {{{kwargs}}}\n"
    )


class Site:
    """The server's files, and what its routes say."""

    def __init__(self, server) -> None:
        self.server = server
        self.folder = server.folder

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def replace(self, name: str, text: str) -> None:
        """Save as editors do: a new file in the place of the old one."""
        path = self.folder / (name + ".new")
        path.write_text(text)
        os.replace(path, self.folder / name)

    def yaml(self, *routes: str, base: str = BASE) -> None:
        self.write("wshandler.yaml", base + "".join(routes))

    def status(self, path: str, **options) -> int:
        """Return the status of a handshake."""
        status, _, sock = self.server.raw_handshake(
            path, tuple(self.server.headers().items()) if options.get("token", True) else ()
        )
        sock.close()
        return status

    def wait_status(self, path: str, status: int, **options) -> None:
        wait_for(lambda: self.status(path, **options) == status, 20, f"{status} for {path}")

    def ask(self, socket, message: str = "?"):
        socket.send(message)
        return socket.recv(timeout=10)

    def wait_answer(self, socket, answer: str) -> None:
        wait_for(lambda: self.ask(socket) == answer, 20, f"the answer {answer!r}")

    def wait_log(self, text: str, since: int = 0) -> str:
        wait_for(lambda: text in self.log(since), 20, f"{text!r} in the log")
        return self.log(since)

    def log(self, since: int = 0) -> str:
        return self.server.log_text()[since:]

    def mark(self) -> int:
        return len(self.server.log_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reload")
    with running_server(
        BASE,
        folder=folder,
        modules={"steady.py": STEADY},
        extra_args=["--WSHandlerApp.allow_public_routes=True"],
    ) as server:
        yield server


@pytest.fixture
def site(server):
    """The site as it is at first, with a connection that every test must leave alone."""
    site = Site(server)
    site.yaml()
    wait_for(lambda: site.status("/steady") == 101, 20, "the steady route")
    with server.connect_sync("/steady") as steady:
        yield site
        assert site.ask(steady, "as ever") == "steady as ever"


def counting(version: object, more: str = "") -> str:
    return (
        f"{more}COUNT = 0\n"
        "def opened(handler):\n    handler.state.n = 0\n"
        "def on_message(handler, message):\n"
        "    global COUNT\n    COUNT += 1\n    handler.state.n += 1\n"
        f"    return '{version} %d %d' % (COUNT, handler.state.n)\n"
    )


def test_row_callback_module_edited_is_seen_by_live_sockets_and_state_is_kept(site):
    site.write("edited.py", counting("v1"))
    site.yaml(route("edited", "open: edited.opened, on_message: edited.on_message"))
    site.wait_status("/edited", 101)
    with site.server.connect_sync("/edited") as live:
        assert [site.ask(live) for _ in range(3)] == ["v1 1 1", "v1 2 2", "v1 3 3"]
        site.write("edited.py", counting("v2"))
        site.wait_log("Reloaded edited.py: new code")
        # Module globals are new; what belongs to the connection is kept.
        assert site.ask(live) == "v2 1 4"
        with site.server.connect_sync("/edited") as fresh:
            assert site.ask(fresh) == "v2 2 1"


def test_a_session_is_kept_over_a_reload(site):
    text = (
        "def on_message(handler, message):\n"
        "    handler.session['n'] = handler.session.get('n', 0) + 1\n"
        "    return {'v': %d, 'n': handler.session['n'], 'id': handler.session['id']}\n"
    )
    site.write("sessioned.py", text % 1)
    site.yaml(route("sessioned", "on_message: sessioned.on_message"))
    site.wait_status("/sessioned", 101)
    with site.server.connect_sync("/sessioned") as live:
        first = json.loads(site.ask(live))
        mark = site.mark()
        site.write("sessioned.py", text % 2)
        site.wait_log("Reloaded sessioned.py", mark)
        second = json.loads(site.ask(live))
    assert second == {"v": 2, "n": first["n"] + 1, "id": first["id"]}


def test_row_imported_helper_edited_is_seen(site):
    site.write("wording.py", "WORD = 'hello'\n")
    site.write("greeter.py", "import wording\ndef f(handler, message): return wording.WORD\n")
    site.yaml(route("greeter", "on_message: greeter.f"))
    site.wait_status("/greeter", 101)
    with site.server.connect_sync("/greeter") as live:
        assert site.ask(live) == "hello"
        site.replace("wording.py", "WORD = 'good day'\n")
        site.wait_answer(live, "good day")


def test_row_broken_edit_keeps_the_last_good_version_and_heals(site):
    site.write("fragile.py", counting("v1"))
    site.yaml(route("fragile", "open: fragile.opened, on_message: fragile.on_message"))
    site.wait_status("/fragile", 101)
    mark = site.mark()
    with site.server.connect_sync("/fragile") as live:
        assert site.ask(live) == "v1 1 1"
        site.write("fragile.py", "import json\ndef on_message(handler, message) return 1\n")
        log = site.wait_log("Not reloaded, the last good version goes on", mark)
        assert re.search(r"fragile\.py:2: SyntaxError", log)
        assert site.ask(live) == "v1 2 2"
        with site.server.connect_sync("/fragile") as fresh:
            assert site.ask(fresh) == "v1 3 1"
        site.write("fragile.py", "import json\ndef on_message(handler, message) return 1\n# \n")
        site.write("fragile.py", counting("v2"))
        site.wait_log("Reloaded fragile.py", mark)
        assert site.ask(live) == "v2 1 3"
    assert site.log(mark).count("fragile.py:2: SyntaxError") == 1
    assert "Traceback" not in site.log(mark)


def test_row_yaml_add_route_is_picked_up(site):
    assert site.status("/added") == 404
    site.yaml(route("added", "on_message: steady.on_message"))
    site.wait_status("/added", 101)
    assert "Reloaded wshandler.yaml: added added" in site.log()


def test_row_yaml_delete_route_closes_its_sockets_with_1012(site):
    site.yaml(route("deleted", "on_message: steady.on_message"))
    site.wait_status("/deleted", 101)
    with site.server.connect_sync("/deleted") as live:
        assert site.ask(live) == "steady ?"
        site.yaml()
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(timeout=20)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "this route is gone")
    assert site.status("/deleted") == 404


def test_row_yaml_change_route_gives_old_sockets_the_new_callbacks(site):
    site.write("two_bots.py", "def f(h, m): return 'f'\ndef g(h, m, n): return n\n")
    site.yaml(route("changed", "on_message: two_bots.f"))
    site.wait_status("/changed", 101)
    with site.server.connect_sync("/changed") as live:
        assert site.ask(live) == "f"
        site.yaml(
            route("changed", "on_message: \"two_bots.g(handler, message, 'g')\", max_message: 5")
        )
        site.wait_answer(live, "g")
        live.send("too long")
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(timeout=10)
    assert closed.value.rcvd.code == 1009


def test_row_yaml_auth_added_closes_anonymous_sockets_with_1012(site):
    site.yaml(route("guarded", "on_message: steady.on_message, auth: false"))
    site.wait_status("/guarded", 101, token=False)
    with site.server.connect_sync("/guarded", token=False) as live:
        assert site.ask(live) == "steady ?"
        site.yaml(route("guarded", "on_message: steady.on_message, auth: true"))
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(timeout=20)
    assert closed.value.rcvd.code == 1012
    assert site.status("/guarded", token=False) == 403
    assert site.status("/guarded") == 101


def test_row_yaml_syntax_error_keeps_routes_serving_and_heals(site):
    mark = site.mark()
    with site.server.connect_sync("/steady") as live:
        site.yaml("  broken: [\n")
        log = site.wait_log("not valid YAML", mark)
        assert re.search(r"wshandler\.yaml:\d+:\d+: not valid YAML", log)
        assert site.ask(live) == "steady ?"
        assert site.status("/steady") == 101
        site.yaml(route("repaired", "on_message: steady.on_message"))
        site.wait_status("/repaired", 101)
        assert site.ask(live) == "steady ?"


def test_row_function_missing_then_added_heals(site):
    site.write("unfinished.py", "def other(handler, message): pass\n")
    site.yaml(route("unfinished", "on_message: unfinished.on_message"))
    site.wait_status("/unfinished", 503)
    site.write("unfinished.py", "def on_message(handler, message): return 'done'\n")
    site.wait_status("/unfinished", 101)


def test_row_module_missing_then_created_heals(site):
    site.yaml(route("late", "on_message: late_bot.on_message"))
    site.wait_status("/late", 503)
    site.write("late_bot/__init__.py", "from .words import on_message\n")
    site.write("late_bot/words.py", "def on_message(handler, message): return 'here'\n")
    site.wait_status("/late", 101)
    with site.server.connect_sync("/late") as live:
        assert site.ask(live) == "here"
        site.write("late_bot/words.py", "def on_message(handler, message): return 'and seen'\n")
        site.wait_answer(live, "and seen")


def test_a_broken_route_answers_503_and_its_open_sockets_go_on(site):
    site.yaml(route("halting", "on_message: steady.on_message"))
    site.wait_status("/halting", 101)
    with site.server.connect_sync("/halting") as live:
        site.yaml(
            route("halting", "on_message: steady.on_message, on_mesage: steady.on_message"),
            route("beside", "on_message: steady.on_message"),
        )
        site.wait_status("/beside", 101)
        assert site.status("/halting") == 503
        assert site.ask(live) == "steady ?"
        site.yaml(route("halting", "on_message: steady.on_message"))
        site.wait_status("/halting", 101)
        assert site.ask(live) == "steady ?"


def test_a_callback_that_runs_ends_with_the_old_code_and_the_next_is_new(site):
    text = (
        "import asyncio, pathlib\n"
        "async def on_message(handler, message):\n"
        "    await handler.write_message('began %(v)s')\n"
        "    while message == 'wait' and not pathlib.Path(__file__).with_name('go').exists():\n"
        "        await asyncio.sleep(0.01)\n"
        "    return 'ended %(v)s'\n"
    )
    site.write("waiting.py", text % {"v": "v1"})
    site.yaml(route("waiting", "on_message: waiting.on_message"))
    site.wait_status("/waiting", 101)
    with site.server.connect_sync("/waiting") as live:
        live.send("wait")
        live.send("next")
        assert live.recv(timeout=10) == "began v1"
        mark = site.mark()
        site.write("waiting.py", text % {"v": "v2"})
        site.wait_log("Reloaded waiting.py", mark)
        (site.folder / "go").touch()
        assert live.recv(timeout=10) == "ended v1"
        assert [live.recv(timeout=10), live.recv(timeout=10)] == ["began v2", "ended v2"]


VERSIONED = """
import second
VERSION = {version}
if second.VERSION != VERSION:
    raise ImportError("only one of the two files is saved so far")
{kind} on_message(handler, message):
    import sys
    return "%s %s %s" % (VERSION, second.VERSION, message)
{broken}
"""


@sizes(short=10, full=200)
async def test_many_reloads_a_third_of_them_broken_under_as_many_echoing_connections(site, size):
    # In short 30 reloads in about 6 s under 10 connections; in full 200 in 60 s under 200.
    clients, last = size.number, 200 if size.full else 30
    # Both sizes may run on one server, one after the other: versions only ever grow.
    base = 999 if size.full else 0
    looked_at = {base + n for n in ((1, 101, 199) if size.full else (1, 11, 20, 29))}

    def save(version: int, broken: bool = False) -> None:
        for kind, name in (("def", "first"), ("async def", "third")):
            site.replace(
                f"{name}.py",
                VERSIONED.format(version=version, kind=kind, broken="1 / 0" if broken else ""),
            )
        site.replace("second.py", f"VERSION = {version}\n")

    await asyncio.to_thread(save, base)
    site.yaml(
        route("first", "on_message: first.on_message"),
        route("third", "on_message: third.on_message"),
    )
    await asyncio.to_thread(site.wait_status, "/third", 101)
    stop = asyncio.Event()
    seen: list[list[int]] = [[] for _ in range(clients)]

    async def echo(number: int) -> int:
        sent = 0
        async with site.server.connect(f"/{('first', 'third')[number % 2]}") as socket:
            while not stop.is_set():
                for message in range(sent, sent + 3):
                    await socket.send(str(message))
                for message in range(sent, sent + 3):
                    module, helper, echoed = (await socket.recv()).split()
                    assert (module, int(echoed)) == (helper, message)
                    seen[number].append(int(module))
                sent += 3
                await asyncio.sleep(0.005)
        return sent

    async def save_all() -> None:
        for version in range(base + 1, base + last + 1):
            broken = version % 3 == 0
            await asyncio.to_thread(save, version, broken)
            if version in looked_at:
                await asyncio.wait_for(served(version), 40)
            else:
                # Saved as fast as a person never could.
                await asyncio.sleep(0.3 if size.full else 0.15)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(save, base + last + 2)
        await asyncio.wait_for(served(base + last + 2), 40)

    async def served(version: int) -> None:
        while not all(values and values[-1] == version for values in seen):
            assert not any(task.done() for task in echoes), [t for t in echoes if t.done()]
            await asyncio.sleep(0.02)

    mark = site.mark()
    echoes = [asyncio.create_task(echo(number)) for number in range(clients)]
    try:
        await save_all()
    finally:
        stop.set()
        counts = await asyncio.gather(*echoes)
    assert counts == [len(values) for values in seen], "a message was lost"
    for values in seen:
        assert values == sorted(values), "an old version came back"
        assert not [version for version in values if version != base and version % 3 == 0]
    assert len(set(seen[0])) >= 5, "too few reloads were seen for this to say anything"
    log = site.log(mark)
    assert "Traceback" not in log
    assert re.search(r"(first|third)\.py:9: ZeroDivisionError", log), log


def test_switched_off_nothing_is_reloaded_but_what_is_missing_heals(tmp_path):
    yaml = BASE + route("late", "on_message: late_one.on_message")
    with running_server(
        yaml,
        folder=tmp_path,
        modules={"steady.py": STEADY},
        extra_args=["--WSHandlerApp.reload=False"],
    ) as server:
        site = Site(server)
        assert site.status("/late") == 503
        with server.connect_sync("/steady") as live:
            site.write("steady.py", STEADY.replace("steady ", "changed "))
            site.write("late_one.py", "def on_message(handler, message): return 'here'\n")
            site.wait_status("/late", 101)
            assert site.ask(live) == "steady ?"
        assert "Reloaded" not in site.log()


def test_a_server_that_polls_reloads_too(tmp_path):
    with running_server(
        BASE,
        folder=tmp_path,
        modules={"steady.py": STEADY},
        extra_args=["--WSHandlerApp.reload=poll"],
    ) as server:
        site = Site(server)
        with server.connect_sync("/steady") as live:
            site.write("steady.py", STEADY.replace("steady ", "changed "))
            site.wait_answer(live, "changed ?")
        assert server.stop() == 0


def test_a_handshake_to_a_route_that_just_went_is_a_plain_404(site):
    site.yaml(route("fleeting", "on_message: steady.on_message"))
    site.wait_status("/fleeting", 101)
    site.yaml()
    site.wait_status("/fleeting", 404)
    with pytest.raises(InvalidStatus) as refused:
        site.server.connect_sync("/fleeting").__enter__()
    assert refused.value.response.status_code == 404
