"""What becomes of a refusal does not depend on how soon it comes: raised, or written and kept."""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server

from jupyter_wshandler.notebook.claims import Claims

SERVE = "import jupyter_wshandler as wsh, sys\n"

SOON = bot_text("answer_soon_cell")

LATE = bot_text("answer_late_cell")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    with running_server("url: {}", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(params=[SOON, LATE], ids=["before the look", "after the look"])
def book(request, server) -> Notebook:
    with notebook(server) as opened:
        opened.run(SERVE + "wsh.serve('/first', lambda h, m: 'first')")
        opened.run(request.param)
        yield opened


def test_wait_0_never_raises_and_writes_the_refusal_below_the_cell(book):
    cell = book.run("bot = wsh.serve('/no', lambda h, m: 'x', auth=False, wait=0)")
    eventually(lambda: "no is not served: auth cannot be set here" in cell.text, cell.text)
    eventually(lambda: book.run("print(bot.state, bot.reason)").text.startswith("refused auth"))


def test_who_talks_at_once_to_a_bot_that_was_not_waited_for_waits_for_it(book):
    cell = book.run(
        "from jupyter_wshandler.client import connect\n"
        "wsh.serve('/hasty/{who}', lambda h, m: h.path_kwargs['who'] + ' ' + m, wait=0)\n"
        "with connect('/hasty/ada%20b') as bot:\n"
        "    bot.send('hi')\n"
        "    print(bot.recv())"
    )
    assert cell.text == "ada b hi\n"


def test_a_version_that_is_refused_with_wait_0_leaves_the_one_before(server, book):
    book.run("bot = wsh.serve('/kept', lambda h, m: 'first', wait=0)")
    eventually(lambda: book.run("print(bot.state)").text == "live\n")
    cell = book.run("same = wsh.serve('/kept', lambda h, m: 'second', auth=False, wait=0)")
    eventually(lambda: "without this change: auth cannot" in cell.text, cell.text)
    shown = book.run("print(bot is same, bot.state, bot.reason)").text
    assert shown.startswith("True live its last version is refused: auth cannot")
    with server.connect_sync("/kept") as socket:
        socket.send("x")
        assert socket.recv(timeout=20) == "first"


def test_a_callback_that_serves_another_bot_hears_no_refusal_as_an_exception(server):
    with notebook(server) as book:
        cell = book.run(
            SERVE + "async def on_message(handler, message):\n"
            "    global inner\n"
            "    inner = wsh.serve('/inner', lambda h, m: 'x', auth=False)\n"
            "    return inner.state\n"
            "outer = wsh.serve('/outer', on_message=on_message)"
        )
        with server.connect_sync("/outer") as socket:
            socket.send("x")
            assert socket.recv(timeout=20) == "waiting"
        eventually(lambda: book.run("print(inner.state)").text == "refused\n")
        eventually(lambda: "inner is not served" in cell.text, cell.text)


@pytest.mark.parametrize("wait", ["-1", "None", "True", "'5'", "float('nan')", "float('inf')"])
def test_what_is_no_time_to_wait_is_said_before_anything_is_served(server, wait):
    with notebook(server) as book:
        cell = book.run(SERVE + f"wsh.serve('/never', lambda h, m: 'x', wait={wait})", fails=True)
        assert "wait: expected seconds from 0" in cell.error
        assert "Error" not in book.run(SERVE + "print(wsh.serve('/never', lambda h, m: 1))").text


# ---- the same of what the server says when several versions are on their way ----------------


class Route:
    """Stand for a route, which is looked at by its name only."""

    def __init__(self, name: str) -> None:
        self.name = name


class Told(list):
    """Keep what one version was told."""

    def __call__(self, what: str, details: object) -> None:
        self.append((what, details))


@pytest.fixture
def asked() -> list:
    return []


@pytest.fixture
def served() -> list:
    return []


@pytest.fixture
def claims(asked, served) -> Claims:
    return Claims(asked.append, served.append, lambda name: served.append(None))


def serve(claims: Claims, option: int) -> tuple[Route, Told]:
    route, told = Route("bot"), Told()
    claims.serve(route, {"options": option}, told)
    return route, told


def test_a_version_that_was_overtaken_is_told_why_it_would_have_been_refused(claims, asked):
    _, first = serve(claims, 1)
    _, second = serve(claims, 2)
    claims.answered("refused", "bot", asked[0].number, "why")
    claims.answered("served", "bot", asked[1].number, "where")
    assert (first, second) == ([("overtaken", "why")], [("served", "where")])


def test_a_version_that_was_overtaken_and_taken_ends_its_waiting(claims, asked, served):
    _, first = serve(claims, 1)
    route, second = serve(claims, 2)
    claims.answered("served", "bot", asked[0].number, "where")
    claims.answered("served", "bot", asked[1].number, "where")
    assert (first, second, served) == ([("overtaken", None)], [("served", "where")], [route])


def test_a_new_server_answers_no_version_that_was_overtaken(claims):
    _, first = serve(claims, 1)
    serve(claims, 2)
    claims.ask_again()
    assert first == [("overtaken", None)]
    assert not claims._overtaken


@pytest.mark.parametrize("swapped", [False, True])
def test_what_is_displaced_is_the_version_that_was_served_not_one_on_its_way(
    claims, asked, served, swapped
):
    serve(claims, 1)
    claims.answered("served", "bot", asked[0].number, "where")
    if swapped:
        serve(claims, 1)
        assert len(asked) == 1
    route, second = serve(claims, 2)
    # Another notebook took it over before the server heard of the second version.
    claims.answered("displaced", "bot", asked[0].number, "taken over")
    assert served[-1] is None
    claims.answered("served", "bot", asked[1].number, "where")
    assert served[-1] is route
    assert second == [("served", "where")]
    claims.answered("displaced", "bot", asked[1].number, "taken over")
    assert second[-1] == ("displaced", "taken over")
    assert len(claims) == 0


def test_a_late_word_about_a_bot_that_was_stopped_and_served_again_changes_nothing(
    claims, asked, served
):
    serve(claims, 1)
    claims.answered("served", "bot", asked[0].number, "where")
    claims.forget("bot")
    route, told = serve(claims, 1)
    claims.answered("displaced", "bot", asked[0].number, "late")
    claims.answered("served", "bot", asked[1].number, "where")
    assert (told, served[-1]) == ([("served", "where")], route)
