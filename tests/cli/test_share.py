"""`jupyter wshandler share` as a person runs it: a link, who is in, and the end of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support.answering import SECRET, answering
from support.bots import bot_text
from support.guestsockets import gone_within_a_second, guests_of, seconds_after
from support.server import RunningServer, free_port, running_server, wait_for
from support.sharecommand import (
    SECONDS,
    TOKEN_IN_LINK,
    Ended,
    command,
    own_terminal,
    runtime_of,
    until_it_says,
)

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import ConnectionClosed, HandshakeRefused

BOT = bot_text("share_command")

ROUTES = """
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs: {on_message: sharebots.on_message}
  room:
    pattern: /room/{room}
    handler: WebSocketHandler
    kwargs: {on_message: sharebots.on_message}
  inner:
    pattern: /inner
    handler: WebSocketHandler
    kwargs: {on_message: sharebots.on_message, auth: {guests: false}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("share")
    with running_server(
        ROUTES,
        folder=folder,
        modules={"sharebots.py": BOT},
        base_url="/me/",
        extra_args=["--debug"],
    ) as server:
        yield server


def share(server: RunningServer, *arguments: str) -> Ended:
    return command(runtime_of(server), "share", *arguments)


def shares(server: RunningServer, *arguments: str) -> list[dict]:
    listed = share(server, "--list", "--json", *arguments)
    assert listed.code == 0, listed.said
    return json.loads(listed.out)["shares"]


def test_a_link_is_all_that_is_put_out_and_lets_a_guest_in_to_that_bot(served):
    made = share(served, "/pingbot", "--label", "Tuesday's class", "--uses", "30")
    assert made.code == 0, made.said
    assert made.link.startswith(f"{served.url}pingbot?share_token=")
    assert """/pingbot for "Tuesday's class": 30 guests may talk to it, until """ in made.said
    assert "(for 2 h)" in made.said
    assert "share_token" not in made.said, "it would stand in two places"
    assert "127.0.0.1, leads nobody else here" in made.said
    with connect(made.link) as bot:
        bot.send("hello")
        answer = bot.recv_json()
    assert (answer["said"], answer["kind"], answer["name"]) == ("hello", "guest", "Tuesday's class")
    assert answer["username"].startswith("guest/")
    assert answer["args"] == []
    with pytest.raises(HandshakeRefused) as refused:
        connect(made.link.replace("/pingbot", "/inner")).open()
    assert refused.value.status in (403, 404)


def test_a_bot_goes_by_its_name_too_and_one_room_of_a_pattern_by_its_path(served):
    for arguments in (["pingbot"], ["/pingbot"]):
        assert "/me/pingbot?" in share(served, *arguments).link
    for arguments in (["/room/blue"], ["/room/{room}", "--path", "/room/blue"]):
        with connect(share(served, *arguments).link) as bot:
            bot.send("x")
            assert bot.recv_json()["room"] == "blue"
    with pytest.raises(HandshakeRefused):
        connect(share(served, "/room/red").link.replace("/red", "/blue")).open()


def test_what_is_shared_is_listed_with_who_is_in_and_never_with_a_token(served):
    made = share(served, "/room/green", "--label", "the blue group", "--expires", "never")
    token = TOKEN_IN_LINK.search(made.link)[1]
    with connect(made.link) as bot:
        bot.send("x")
        bot.recv()
        listed = wait_for(
            lambda: [r for r in share(served, "--list").out.splitlines() if "  1  " in r]
        )
        assert any(made.share_id in row and "/room/green" in row for row in listed)
        everything = share(served, "--list")
    assert everything.out.splitlines()[0].split() == ["ID", "BOT", "HERE", "USED", "ENDS", "LABEL"]
    assert "the blue group" in everything.out
    assert "when you revoke it" in everything.out
    assert token not in everything.out + everything.said
    (found,) = shares(served, "/room/green")
    assert (found["id"], found["expires"], found["used"]) == (made.share_id, None, 1)
    assert not {"url", "token"} & set(found)


def test_what_is_revoked_sends_its_guests_away_within_a_second_and_in_words(served):
    made = share(served, "/pingbot", "--label", "one")
    other = share(served, "/pingbot", "--label", "two")
    with connect(made.link) as bot, connect(other.link) as stays:
        bot.send("x")
        bot.recv()
        with guests_of(served, {"url": made.link}, "/pingbot") as sockets:
            said, home = [], runtime_of(served)
            found = seconds_after(
                served,
                "/pingbot",
                sockets,
                lambda: said.append(until_it_says(home, "share", "--revoke", made.share_id)),
            )
        (started,) = said
        ended = started.end()
        gone_within_a_second(found, "this link has been revoked")
        assert ended.code == 0, ended.said
        assert "/pingbot for 'one'" in ended.said
        assert "5 guests had to leave" in ended.said
        with pytest.raises(ConnectionClosed) as closed:
            bot.recv()
        assert closed.value.code == 4403
        assert "revoked" in closed.value.reason
        stays.send("y")
        assert stays.recv_json()["said"] == "y"
    assert made.share_id not in {each["id"] for each in shares(served)}
    with pytest.raises(HandshakeRefused, match="Ask whoever gave you this link") as refused:
        connect(made.link).open()
    assert refused.value.status == 403
    assert "revoked" in refused.value.reason


def test_the_first_letters_of_an_id_will_do_where_they_mean_one(served):
    made = [share(served, "/room/ids").share_id for _ in range(2)]
    known = [each["id"] for each in shares(served)]
    first = next(
        made[0][:n] for n in range(1, 40) if sum(one.startswith(made[0][:n]) for one in known) == 1
    )
    assert share(served, "--revoke", first).code == 0
    unknown = share(served, "--revoke", first)
    assert unknown.code == 2
    assert "--list shows" in unknown.said
    assert made[1] in {each["id"] for each in shares(served)}
    assert share(served, "--revoke", "").code == 2
    both = share(served, "--revoke", made[1], "zz-nothing")
    assert both.code == 2
    assert made[1] in {each["id"] for each in shares(served)}, "all or nothing"


def test_json_is_what_the_server_answers(served):
    made = json.loads(share(served, "/pingbot", "--json", "--no-page", "--expires", "90").out)
    assert TOKEN_IN_LINK.search(made["url"])
    assert (made["route"], made["path"], made["page"]) == ("pingbot", "/pingbot", False)
    assert 80 < made["expires"] - time.time() < 91
    ended = share(served, "--revoke", made["id"], "--json")
    assert json.loads(ended.out) == {"revoked": [made["id"]]}


def test_the_link_after_the_last_use_says_so(served):
    made = share(served, "/pingbot", "--uses", "1")
    assert "one guest may talk to it" in made.said
    with connect(made.link) as bot:
        bot.send("x")
        assert bot.recv_json()["kind"] == "guest"
        with pytest.raises(HandshakeRefused) as refused:
            connect(made.link).open()
    assert "as many as it may" in refused.value.reason


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_link_that_nobody_took_is_revoked(served, more):
    before = {each["id"] for each in shares(served)}
    ended = into_nothing(served, "share", "/pingbot", *more)
    assert ended.code == 1
    assert ended.said.endswith("whoever was to take the link has gone; it is revoked\n")
    assert {each["id"] for each in shares(served)} == before


def test_a_list_of_which_nobody_reads_more_ends_without_a_word(served):
    share(served, "/pingbot")
    ended = into_nothing(served, "share", "--list")
    assert ended.code == 1
    assert "Error" not in ended.said
    ended = into_nothing(served, "chat", "/pingbot", said="hello\n")
    assert "Error" not in ended.said


def into_nothing(server: RunningServer, *arguments: str, said: str = "") -> Ended:
    """Run a command whose standard output nobody reads: the other end is closed."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "jupyter_wshandler", *arguments],
            input=said,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env=own_terminal(runtime_of(server)),
            timeout=SECONDS,
        )
    finally:
        os.close(write)
    return Ended(ended.returncode, "", ended.stderr)


def test_a_link_is_talked_to_in_a_terminal_by_whoever_has_no_server(served, tmp_path):
    made = share(served, "/pingbot", "--label", "Bob")
    talked = command(tmp_path, "chat", made.link, said="hello\n")
    assert talked.code == 0, talked.said
    assert json.loads(talked.out)["name"] == "Bob"
    token = TOKEN_IN_LINK.search(made.link)[1]
    share(served, "--revoke", made.share_id)
    refused = command(tmp_path, "chat", made.link, said="hello\n")
    assert refused.code == 1
    assert "revoked" in refused.said
    assert "Ask whoever gave you this link for a new one." in refused.said
    assert "--token" not in refused.said
    assert token not in refused.said + talked.said
    half = command(tmp_path, "chat", made.link.partition("=")[0] + "=", said="hello\n")
    assert (half.code, half.out) == (2, "")
    assert "copy all of it" in half.said


def test_who_talks_in_a_terminal_is_told_at_once_that_the_link_was_revoked(served, tmp_path):
    made = share(served, "/pingbot")
    with subprocess.Popen(
        [sys.executable, "-m", "jupyter_wshandler", "chat", made.link],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=own_terminal(tmp_path),
    ) as talking:
        talking.stdin.write("hello\n")
        talking.stdin.flush()
        assert json.loads(talking.stdout.readline())["kind"] == "guest"
        share(served, "--revoke", made.share_id)
        talking.stdin.write("still there?\n")
        talking.stdin.flush()
        assert talking.wait(SECONDS) == 1
        assert "4403 this link has been revoked" in talking.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["/nothing-here"], 1, "/nothing-here"),
        (["nothing-here"], 1, "nothing-here"),
        (["/inner"], 1, "guests"),
        (["/pingbot", "--expires", "tomorrow"], 2, "tomorrow"),
        (["/pingbot", "--expires", "-5"], 2, "expires"),
        (["/pingbot", "--uses", "0"], 2, "uses"),
        (["/pingbot", "--uses", "many"], 2, "many"),
        (["/pingbot", "--path", "/room/x"], 2, "one path"),
        (["/room/{room}"], 2, "--path"),
        (["room"], 2, "/room/"),
        (["/pingbot", "--label", "a \x1b[31m red"], 2, r"a \x1b[31m red"),
        ([], 2, "say which bot"),
        (["/pingbot", "--list", "--revoke", "x"], 2, "not allowed with"),
        (["/pingbot", "--token-file", "/nowhere/at/all"], 2, "No such file"),
    ],
)
def test_what_cannot_be_shared_is_said_and_is_the_exit_code(served, arguments, code, words):
    ended = share(served, *arguments)
    assert (ended.code, ended.out) == (code, ""), ended.said
    assert words in ended.said
    assert served.token not in ended.said


def test_another_server_is_named_with_its_token_and_a_wrong_one_is_refused_in_words(
    served, tmp_path
):
    secret = tmp_path / "token"
    secret.write_text(served.token + "\n")
    where = ["--url", served.url, "--token-file", str(secret)]
    made = command(tmp_path, "share", "/pingbot", *where)
    assert made.code == 0, made.said
    assert f"--revoke {made.share_id} --url {served.url}" in made.said
    for login in (["--token", "wrong-secret"], []):
        refused = command(tmp_path, "share", "/pingbot", "--url", served.url, *login)
        assert (refused.code, refused.out) == (1, "")
        assert "--token-file" in refused.said
        assert "wrong-secret" not in refused.said


def test_without_a_server_it_says_where_it_looked_and_how_to_name_one(tmp_path):
    ended = command(tmp_path, "share", "/pingbot")
    assert ended.code == 1
    assert str(tmp_path) in ended.said
    assert "jupyter wshandler share /pingbot --url" in ended.said
    nobody = command(tmp_path, "share", "--list", "--url", f"http://127.0.0.1:{free_port()}/")
    assert nobody.code == 1
    assert "is the server running" in nobody.said


def test_where_guests_are_off_it_says_who_can_switch_them_on(tmp_path):
    with running_server(
        ROUTES,
        folder=tmp_path,
        modules={"sharebots.py": BOT},
        extra_args=["--WSHandlerApp.guests=off"],
    ) as server:
        ended = share(server, "/pingbot")
    assert (ended.code, ended.out) == (1, "")
    assert "WSHandlerApp.guests" in ended.said
    assert "links" in ended.said


def test_people_are_asked_for_by_name_and_told_apart_from_whoever_has_a_link(tmp_path):
    made = {
        "id": "3f9a",
        "url": "https://hub.example.org/services/bots/open/3f9a",
        "path": "/pingbot",
        "label": "",
        "expires": None,
        "uses": None,
        "users": ["bob", "eve"],
        "groups": ["staff"],
    }
    people = ["--user", "bob", "--user", "eve", "--group", "staff"]
    with answering(201, json.dumps(made).encode()) as (server, heard):
        where = ["--url", server.url, "--token", SECRET]
        ended = command(tmp_path, "share", "/pingbot", *people, *where)
    assert (ended.code, ended.out) == (0, made["url"] + "\n"), ended.said
    assert "/pingbot: bob, eve, group staff may talk to it, until you revoke it." in ended.said
    assert "They log in at the Hub" in ended.said
    assert "chat" not in ended.said, "the address is of no use there"
    asked = json.loads(heard[0][3])
    assert (asked["users"], asked["groups"]) == (["bob", "eve"], ["staff"])


def test_a_server_without_any_login_can_share_its_bots_too(tmp_path):
    with running_server(ROUTES, folder=tmp_path, modules={"sharebots.py": BOT}, token="") as server:
        made = share(server, "/pingbot")
        assert made.code == 0, made.said
        assert share(server, "--revoke", made.share_id).code == 0


def test_a_server_without_the_extension_is_told_apart_from_a_bot_that_is_not_there(tmp_path):
    off = "--ServerApp.jpserver_extensions={'jupyter_wshandler': False, 'jupyterlab': False}"
    with running_server(folder=tmp_path, extra_args=[off]) as server:
        ended = share(server, "/pingbot")
    assert ended.code == 1
    assert "is jupyter_wshandler installed where it runs" in ended.said


def test_no_token_of_a_link_is_in_the_servers_log_at_debug_level(served, tmp_path):
    made = share(served, "/pingbot")
    token = TOKEN_IN_LINK.search(made.link)[1]
    command(tmp_path, "chat", made.link, said="hello\n")
    share(served, "--revoke", made.share_id)
    command(tmp_path, "chat", made.link, said="hello\n")
    assert token not in served.log_text()
