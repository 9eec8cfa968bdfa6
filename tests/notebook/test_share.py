"""A bot of a notebook, shared from a cell: on a real server, with a kernel in its own process."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from urllib.parse import parse_qs, urlsplit

import pytest
from support.guestsockets import gone_within_a_second, guests_of, seconds_after
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server
from support.sharing import bearer, cookie_of
from websockets.exceptions import ConnectionClosed, InvalidStatus

SERVE = """
import jupyter_wshandler as wsh
def on_message(handler, message):
    user = handler.current_user
    return [message, user.kind, user.display_name, user.username]
bot = wsh.serve('/bot', on_message=on_message)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def book(server) -> Notebook:
    with notebook(server) as opened:
        opened.run(SERVE)
        yield opened
        opened.run("for share in bot.shares: share.revoke()")


def share(book: Notebook, arguments: str = "", name: str = "share") -> str:
    """Share the bot in a cell; return the link's token."""
    url = book.run(f"{name} = bot.share({arguments})\nprint({name}.url)").text.strip()
    (token,) = parse_qs(urlsplit(url).query)["share_token"]
    assert url == f"{book.server.url}bot?share_token={token}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", token)
    return token


def guest(server: RunningServer, token: str, path: str = "/bot"):
    """Return a socket of somebody who has the link and no login."""
    return server.connect_sync(path, token=False, headers={"Authorization": f"Bearer {token}"})


def ask(socket, message: str) -> list:
    socket.send(message)
    return json.loads(socket.recv(timeout=10))


def says(book: Notebook, expression: str) -> str:
    return book.run(f"print({expression})").text.strip()


def refused(server: RunningServer, token: str, path: str = "/bot") -> str:
    """Return why somebody with the link is not let in; fail where they are."""
    with pytest.raises(InvalidStatus) as refusal, guest(server, token, path):
        pass
    response = refusal.value.response
    assert response.status_code == 403
    return response.body.decode()


# ---- the link -----------------------------------------------------------------------------------


def test_a_stranger_with_the_link_talks_to_the_bot_and_the_author_sees_them(server, book):
    token = share(book, "'Tuesday\\'s class', uses=2")
    assert says(book, "share.label, share.state, share.uses_left") == "Tuesday's class open 2"
    with guest(server, token) as socket:
        message, kind, name, username = ask(socket, "hello")
        assert (message, kind, name) == ("hello", "guest", "Tuesday's class")
        assert username.startswith("guest/")
        assert (
            says(book, "[c.current_user.username for c in share.connections]") == f"['{username}']"
        )
        eventually(lambda: says(book, "share.uses_left") == "1")
        with server.connect_sync("/bot") as own:
            assert ask(own, "me")[1] == "user"
            assert says(book, "len(bot.connections), len(share.connections)") == "2 1"
    eventually(lambda: says(book, "len(share.connections)") == "0")


def test_a_revoked_link_ends_at_once_for_who_is_in_and_for_who_comes(server, book):
    token = share(book)
    with guests_of(server, {"url": f"?share_token={token}"}, "/bot") as sockets:
        for socket in sockets.values():
            assert ask(socket, "1")[1] == "guest"
        found = seconds_after(server, "/bot", sockets, lambda: book.run("share.revoke()"))
    gone_within_a_second(found, "this link has been revoked")
    assert "this link has been revoked" in refused(server, token)
    assert says(book, "share.state, share.reason, share.uses_left, bot.shares") == (
        "ended this link has been revoked None []"
    )
    book.run("share.revoke()")  # again is no mistake


def test_guests_of_one_label_are_told_apart_also_where_the_bot_writes_over_who_they_are(
    server, book
):
    book.run(
        "class Nobody:\n"
        "    kind, share, username = 'guest', 'another', property(lambda self: 1 / 0)\n"
        "def on_message(handler, message):\n"
        "    name = handler.current_user.username\n"
        "    if message == 'overwrite': handler.current_user = Nobody()\n"
        "    if message == 'rename': handler.current_user.username = 'guest/same'\n"
        "    return [message, name]\n"
        "bot = wsh.serve('/bot', on_message=on_message)\n"
    )
    made, other = (
        {"url": "?share_token=" + share(book, arguments, name)}
        for arguments, name in (("'class'", "share"), ("'class', uses=9", "other"))
    )
    tabs = {"Cookie": cookie_of(server, made, "/bot")}
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(server.connect_sync("/bot", token=False, headers=headers))
            for headers in (tabs, tabs, bearer(made), bearer(made), bearer(other))
        ]
        names = [ask(socket, "hello")[1] for socket in sockets]
        assert len(set(names)) == 4  # two are tabs of one browser
        seen = "len(share.connections), repr(share).partition('open, ')[2][:4]"
        assert says(book, seen) == "4 3 in"
        assert says(book, "len(other.connections), len(bot.connections)") == "1 5"
        shown = says(book, "share._repr_html_()")
        for name in set(names[:4]):
            assert f"guest {name[6:10]}" in shown
        assert f"guest {names[4][6:10]}" not in shown
        for number, word in ((1, "overwrite"), (2, "rename"), (3, "rename")):
            ask(sockets[number], word)
        assert says(book, seen) == "4 3 in"
        for name in set(names[:4]):
            assert f"guest {name[6:10]}" in says(book, "share._repr_html_()")
        sockets[1].close()
        sockets[2].close()
        eventually(lambda: says(book, seen) == "2 2 in")
        book.run("share.revoke()")
        eventually(lambda: says(book, "len(share.connections), len(other.connections)") == "0 1")


def test_another_share_of_the_bot_stays_open_when_one_is_revoked(server, book):
    first, second = share(book, "'one'", "one"), share(book, "'two'", "two")
    assert first != second
    book.run("one.revoke()")
    refused(server, first)
    with guest(server, second) as socket:
        assert ask(socket, "1")[2] == "two"
    assert says(book, "[s.label for s in bot.shares]") == "['two']"


def test_a_share_ends_by_the_clock_and_by_its_uses(server, book):
    short = share(book, "expires=1", "short")
    once = share(book, "uses=1", "once")
    with guest(server, once) as socket:
        ask(socket, "1")
        assert "as many as it may" in refused(server, once)
        eventually(lambda: says(book, "short.state, short.reason") == "ended this link has expired")
        assert "has expired" in refused(server, short)
        assert ask(socket, "2")[0] == "2"  # who is in stays in
        eventually(lambda: says(book, "once.uses_left, once.state") == "0 open")


# ---- what it survives ---------------------------------------------------------------------------


def test_the_link_stays_when_the_cell_is_run_again_and_who_is_in_is_still_seen(server, book):
    cell = SERVE + "share = bot.share('class')\nprint(share.url)"
    first = book.run(cell).text
    (token,) = parse_qs(urlsplit(first.strip()).query)["share_token"]
    with guest(server, token) as socket:
        ask(socket, "1")
        assert book.run(cell.replace("[message,", "['new ' + message,")).text == first
        assert ask(socket, "2")[0] == "new 2"
        assert says(book, "len(share.connections), len(bot.shares)") == "1 1"
        other = book.run(cell.replace("'class'", "'class', expires='3h'")).text
        assert other != first
        assert says(book, "len(bot.shares)") == "2"


def test_the_same_wish_makes_a_new_link_when_the_old_one_has_ended(server, book):
    first = share(book, "'x'")
    book.run("share.revoke()")
    second = share(book, "'x'")
    assert first != second
    with guest(server, second) as socket:
        ask(socket, "1")


def test_the_link_survives_a_restart_of_the_kernel_when_the_bot_is_served_again(server, book):
    token = share(book, "'class'")
    book.restart()
    assert refused_or_gone(server, token) == 404
    book.run(SERVE)
    with guest(server, token) as socket:
        assert ask(socket, "1")[2] == "class"
        # A link is shown once: what was shown is not known to the new kernel.
        eventually(
            lambda: says(book, "[(s.label, s.url) for s in bot.shares]") == "[('class', '')]"
        )
        assert says(book, "len(bot.shares[0].connections)") == "1"
        book.run("bot.shares[0].revoke()")
    refused(server, token)


def refused_or_gone(server: RunningServer, token: str) -> int:
    with pytest.raises(InvalidStatus) as refusal, guest(server, token):
        pass
    return refusal.value.response.status_code


def test_the_link_survives_a_restart_of_the_server(tmp_path):
    with running_server("url: {}", folder=tmp_path) as server, notebook(server) as book:
        book.run(SERVE)
        token = share(book, "'class', uses=3")
        with guest(server, token) as socket:
            ask(socket, "1")
        server.process.kill()
        server.process.wait(10)
    with running_server("url: {}", folder=tmp_path) as server, notebook(server) as book:
        book.run(SERVE)
        with guest(server, token) as socket:
            assert ask(socket, "2")[2] == "class"
            seen = "[(s.label, s.uses_left) for s in bot.shares]"
            eventually(lambda: says(book, seen) == "[('class', 1)]")


def test_a_bot_that_is_stopped_leaves_its_share_which_can_be_revoked_still(server, book):
    token = share(book)
    book.run("bot.stop()")
    assert refused_or_gone(server, token) == 404
    cell = book.run("bot.share('more')", fails=True)
    assert "ShareRefused" in cell.error
    assert "serve it again" in cell.error
    book.run(SERVE)
    with guest(server, token) as socket:
        ask(socket, "1")
    book.run("bot.stop()\nshare.revoke()")
    book.run(SERVE)
    refused(server, token)


# ---- what ends or forbids it --------------------------------------------------------------------


def test_new_rules_of_the_bot_end_its_shares_and_the_same_rules_do_not(server, book):
    token = share(book)
    serve = SERVE.replace("on_message=on_message)", "on_message=on_message{})")
    book.run(serve.format(", max_message='1KiB'"))
    with guest(server, token) as socket:
        ask(socket, "1")
        book.run(serve.format(", auth={'membership': [{'name': 'ada'}]}"))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd.code == 4403
        assert "rules of this bot have changed" in closed.value.rcvd.reason
    assert "rules of this bot have changed" in refused(server, token)
    eventually(lambda: says(book, "share.state") == "ended")
    assert "rules of this bot have changed" in says(book, "share.reason")


def test_a_bot_that_takes_no_guests_says_so(server, book):
    book.run(
        SERVE.replace("on_message=on_message)", "on_message=on_message, auth={'guests': False})")
    )
    cell = book.run("bot.share()", fails=True)
    assert cell.error.startswith("ShareRefused: bot is not shared: the route 'bot' takes no guests")


def test_where_guests_are_off_the_cell_says_who_can_switch_them_on_and_how(tmp_path):
    off = ["--WSHandlerApp.guests=off"]
    with running_server("url: {}", folder=tmp_path, extra_args=off) as server:
        with notebook(server) as book:
            book.run(SERVE)
            cell = book.run("bot.share()", fails=True)
            assert cell.error.startswith("ShareRefused")
            assert "--WSHandlerApp.guests=links" in cell.error
            # Where nobody waits for it, it is written below the cell.
            cell = book.run("share = bot.share(wait=0)")
            eventually(lambda: "--WSHandlerApp.guests=links" in cell.text)
            assert says(book, "share.state, bool(share.reason), bot.shares") == "refused True []"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("expires='soon'", "expires: expected a duration"),
        ("expires=-5", "expires: expected"),
        ("uses=0", "uses: expected a number from 1"),
        ("'two\\nlines'", "label: expected at most 200 printable characters"),
        ("path='/elsewhere'", "path: expected one that the pattern /bot matches"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_what_was_expected_and_found(book, arguments, words):
    cell = book.run(f"bot.share({arguments})", fails=True)
    assert cell.error.startswith("ShareRefused: bot is not shared: ")
    assert words in cell.error
    assert says(book, "bot.shares") == "[]"


def test_one_path_of_a_pattern_with_many_is_shared(server, book):
    book.run(SERVE.replace("bot = wsh.serve('/bot'", "rooms = wsh.serve('/rooms/{room}'"))
    cell = book.run("rooms.share()", fails=True)
    assert "name the one to share" in cell.error
    url = book.run("share = rooms.share(path='/rooms/one')\nprint(share.url)").text.strip()
    (token,) = parse_qs(urlsplit(url).query)["share_token"]
    with guest(server, token, "/rooms/one") as socket:
        ask(socket, "1")
    refused(server, token, "/rooms/two")


# ---- who hears of it ----------------------------------------------------------------------------


def test_shares_that_are_made_and_ended_elsewhere_are_seen_in_the_notebook(server, book):
    body = json.dumps({"route": "bot", "label": "by REST", "uses": 5}).encode()
    status, _, answer = server.fetch("wshandler/api/shares", method="POST", data=body)
    assert status == 201
    made = json.loads(answer)
    seen = "[(s.label, s.uses_left, s.url) for s in bot.shares]"
    eventually(lambda: says(book, seen) == "[('by REST', 5, '')]")
    status, _, _ = server.fetch(f"wshandler/api/shares/{made['id']}", method="DELETE")
    assert status == 204
    eventually(lambda: says(book, "bot.shares") == "[]")


def test_a_share_made_in_a_callback_is_there_a_moment_later(server, book):
    book.run(
        "import asyncio\n"
        "async def on_message(handler, message):\n"
        "    share = bot.share(message)\n"
        "    while not share.url: await asyncio.sleep(0.01)\n"
        "    return share.url\n"
        "inviting = wsh.serve('/inviting', on_message=on_message)"
    )
    with server.connect_sync("/inviting") as socket:
        socket.send("Bob")
        url = socket.recv(timeout=10)
    (token,) = parse_qs(urlsplit(url).query)["share_token"]
    with guest(server, token) as socket:
        assert ask(socket, "1")[2] == "Bob"


def test_a_link_that_came_too_late_for_its_cell_is_open_for_nobody(server, book):
    book.run(
        "from jupyter_wshandler.notebook.shares import BotShares\n"
        "made, hear = [], BotShares._shared\n"
        "def late(self, event):\n"
        "    made.append(event.state.url)\n"
        "    self._link.loop.call_later(1.0, hear, self, event)\n"
        "BotShares._shared = late"
    )
    cell = book.run("bot.share('late', wait=0.3)", fails=True)
    assert "ShareRefused" in cell.error
    assert "has not answered in time" in cell.error
    url = says(book, "made[0]")
    (token,) = parse_qs(urlsplit(url).query)["share_token"]
    eventually(lambda: b'"late"' not in server.fetch("wshandler/api/shares?route=bot")[2])
    assert "revoked" in refused(server, token)


# ---- what it shows ------------------------------------------------------------------------------


def shown(cell) -> dict:
    (output,) = [o for o in cell.outputs if o["output_type"] == "display_data"]
    return output["data"]


def test_a_cell_shows_a_share_and_shows_it_anew_when_something_changes(server, book):
    token = share(book, "'<b>Tuesday</b>', uses=3")
    cell = book.run("share")
    assert token in shown(cell)["text/html"]
    assert "/share.js" in shown(cell)["text/html"]
    assert "<b>Tuesday" not in shown(cell)["text/html"]
    assert token not in shown(cell)["text/plain"]
    assert "0 in, 3 of 3 uses left, 1 h 59 min left" in shown(cell)["text/plain"]
    with guest(server, token) as socket:
        ask(socket, "1")
        eventually(lambda: "1 in, 2 of 3 uses left" in shown(cell)["text/plain"])
    eventually(lambda: "0 in, 2 of 3 uses left" in shown(cell)["text/plain"])
    book.run("share.revoke()")
    eventually(lambda: "revoked" in shown(cell)["text/plain"])
    assert token not in shown(cell)["text/html"]


def test_no_log_line_and_no_repr_holds_the_link(tmp_path):
    with running_server("url: {}", folder=tmp_path, extra_args=["--debug"]) as server:
        with notebook(server) as book:
            book.run(SERVE)
            token = share(book, "'class'")
            with guest(server, token) as socket:
                ask(socket, "1")
            assert token not in says(book, "share, [share], bot, bot.shares, vars(share).keys()")
            book.run("share.revoke()")
        assert token not in server.log_text()
