"""The example of a chat with rooms: its configuration, its functions and its page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.exceptions
from support.server import RunningServer, running_server

from jupyter_wshandler.cli import main

CHATROOM = Path(__file__).parents[2] / "examples" / "chatroom"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("chatroom")
    with running_server(CHATROOM / "wshandler.yaml", folder=folder) as running:
        yield running


def until(socket, key: str) -> dict:
    """Read until a message has a key; return it."""
    while key not in (said := json.loads(socket.recv(timeout=20))):
        pass
    return said


def test_check_finds_nothing_wrong_in_the_example(capsys):
    assert main(["check", str(CHATROOM / "wshandler.yaml")]) == 0
    printed = capsys.readouterr()
    assert "warning" not in (printed.out + printed.err).lower()


def test_who_comes_sees_who_is_in_and_everybody_hears_everybody(server):
    with server.connect_sync("/chat/lobby") as ada:
        until(ada, "came")
        with server.connect_sync("/chat/lobby") as bob:
            until(bob, "came")
            came = until(ada, "came")
            assert len(came["people"]) == 2
            bob.send("hello <b>all</b>")
            assert until(ada, "text")["text"] == "hello <b>all</b>"
            assert until(bob, "text")["text"] == "hello <b>all</b>"
        assert len(until(ada, "left")["people"]) == 1
    with server.connect_sync("/chat/lobby") as late:
        assert until(late, "text")["text"] == "hello <b>all</b>"


def test_the_bot_answers_in_the_room_and_anybody_stops_it(server):
    with server.connect_sync("/chat/asked") as ada, server.connect_sync("/chat/asked") as bob:
        ada.send("@bot who are you?")
        assert until(bob, "text")["text"] == "@bot who are you?"
        first = until(bob, "bot")
        ada.send("one more thing")  # who has asked goes on talking meanwhile
        assert until(bob, "from")["text"] == "one more thing"
        bob.send("/stop")
        for socket in (ada, bob):
            end = until(socket, "how")
            assert (end["bot"], end["how"]) == (first["bot"], "stopped")
            assert end["text"].startswith(first["text"])
    with server.connect_sync("/chat/asked") as late:
        # The whole, and none of what it was on the way.
        assert [until(late, "text")["text"] for _ in range(3)] == [
            "@bot who are you?",
            "one more thing",
            end["text"],
        ]


def test_an_answer_ends_when_who_has_asked_leaves_and_others_are_told_so(server):
    with server.connect_sync("/chat/left") as bob:
        with server.connect_sync("/chat/left") as ada:
            ada.send("@bot who are you?")
            until(bob, "bot")
        assert until(bob, "how")["how"] == "stopped"
    # A stop without an answer is said to nobody.
    with server.connect_sync("/chat/idle") as eve:
        eve.send("/stop")
        eve.send("hello")
        assert until(eve, "text")["text"] == "hello"


def test_rooms_are_apart_and_a_long_name_is_refused(server):
    with server.connect_sync("/chat/red") as red, server.connect_sync("/chat/blue") as blue:
        until(red, "came")
        until(blue, "came")
        red.send("psst")
        assert until(red, "text")["text"] == "psst"
        blue.send("end")
        assert until(blue, "text")["text"] == "end"
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(f"/chat/{'x' * 41}").__enter__()
    assert caught.value.response.status_code == 403


def test_the_page_is_served_at_the_address_of_each_room(server):
    status, headers, body = server.fetch("/chat/lobby")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body == (CHATROOM / "chatroom.html").read_bytes()
    status, _, script = server.fetch("/static/wshandler/wshandler.js")
    assert status == 200
    assert b"connect" in script


def test_the_page_shows_what_is_said_in_two_tabs_and_no_markup_of_it(server, browser):
    pages = [browser.new_page() for _ in range(2)]
    for page in pages:
        page.goto(f"{server.url}chat/browser?token={server.token}")
        page.wait_for_selector("#form:not([inert])")
    pages[0].fill("#text", "hello <b>all</b>")
    pages[0].press("#text", "Enter")
    for page in pages:
        page.get_by_text("hello <b>all</b>").wait_for()
        assert page.locator("#people li").count() == 1  # one person with two tabs


def test_the_page_shows_the_bots_answer_as_it_comes_and_a_button_that_stops_it(server, browser):
    asks, reads = (browser.new_page() for _ in range(2))
    for page in (asks, reads):
        page.goto(f"{server.url}chat/stopped?token={server.token}")
        page.wait_for_selector("#form:not([inert])")
    asks.fill("#text", "@bot who are you?")
    asks.press("#text", "Enter")
    reads.get_by_text("You ask: “who are you?”").wait_for()
    reads.get_by_role("button", name="Stop").click()
    for page in (asks, reads):
        page.locator(".said.bot .how", has_text="stopped").wait_for()
        assert page.get_by_role("button", name="Stop").count() == 0
