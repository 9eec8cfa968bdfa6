"""Logins over time under a real JupyterHub: what ends, closes; and how often the Hub is asked."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import websockets.exceptions
from support.bodies import MIB, objects, send, sized
from support.bots import bot_text
from support.hub import running_hub
from support.server import wait_for
from support.usage import watched

RECHECK = 2.0

CONFIG = f"""
url:
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{recheck: {RECHECK:g}s, recheck_grace: 10m}}}}
  staff:
    pattern: /staff
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{groups: [staff], recheck: {RECHECK:g}s}}}}
  impatient:
    pattern: /impatient
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{recheck: {RECHECK:g}s, recheck_grace: 5s}}}}
  turn:
    pattern: /turn
    handler: WebSocketHandler
    kwargs: {{on_message: bot.turn, auth: {{recheck: off}}}}
  slow:
    pattern: /slow
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{function: bot.wait, recheck: {RECHECK:g}s}}}}
  decide:
    pattern: /decide
    handler: WebSocketHandler
    kwargs: {{on_message: bot.decide}}
  never:
    pattern: /never
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{recheck: off}}}}
"""

BOT = bot_text("hub_time")

CROWD = [f"user{number:02}" for number in range(20)]

SLACK = 3.0
"""Seconds for a question and its answer on a busy machine; a failure takes far longer."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-time") / "hub",
        CONFIG,
        modules={"bot.py": BOT},
        users=["ada", "bob", *CROWD],
        groups={"staff": ["ada", "bob"]},
        services={"robot": ["access:servers"]},
        keep_servers=True,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(hub):
    return hub.start("ada")


def says(socket, text: str) -> bool:
    socket.send(text)
    return socket.recv(timeout=20) == text


def end_of(socket, seconds: float) -> tuple[int, str]:
    """Return the close code and reason of a socket that has to end in time."""
    with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
        socket.recv(timeout=seconds)
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_a_revoked_token_closes_its_sockets_with_4401_and_opens_no_other(hub, server):
    token = hub.token("ada")
    script, other = hub.script(token), hub.script(hub.token("ada"))
    with (
        script.connect_sync(server.at("chat")) as socket,
        other.connect_sync(server.at("chat")) as staying,
    ):
        assert says(socket, "hi")
        hub.revoke("ada", token)
        assert end_of(socket, RECHECK + SLACK) == (4401, "your login has ended")
        assert script.status(server.at("chat")) == 403
        assert says(staying, "still here")


def test_a_revoked_token_closes_its_socket_though_a_good_cookie_of_a_guest_is_beside_it(
    hub, server
):
    hub.share(server, user="bob")
    guest, token = hub.browser("bob", server), hub.token("ada")
    stolen = {"Authorization": f"token {token}"}
    with guest.connect_sync(server.at("chat"), headers=stolen) as socket:
        assert says(socket, "hi")
        hub.revoke("ada", token)
        assert end_of(socket, RECHECK + SLACK) == (4401, "your login has ended")
    hub.unshare(server, user="bob")


def test_a_token_revoked_while_a_routes_own_rule_decides_opens_no_socket(hub, server):
    token = hub.token("ada")
    script, other = hub.script(token), hub.script(hub.token("ada"))
    with ThreadPoolExecutor(1) as pool, script.connect_sync(server.at("chat")) as socket:
        waiting = pool.submit(script.status, server.at("slow"))
        wait_for(lambda: "deciding" in server.log_text(), what="the question to the rule")
        hub.revoke("ada", token)
        assert end_of(socket, RECHECK + SLACK) == (4401, "your login has ended")
        with other.connect_sync(server.at("decide")) as deciding:
            assert says(deciding, "yes")
        assert waiting.result(20) == 403


def test_a_token_revoked_between_two_sockets_opens_no_second_one_after_a_period(hub, server):
    token = hub.token("ada")
    script = hub.script(token)
    assert script.status(server.at("chat")) == 101
    hub.revoke("ada", token)
    wait_for(
        lambda: script.status(server.at("chat")) == 403, RECHECK + SLACK, "the end of the token"
    )
    # HubAuth remembers the token for 300 s; a route that never asks again is told.
    assert script.status(server.at("never")) == 403


def test_a_logout_at_the_hub_closes_that_browsers_sockets_with_4401(hub, server):
    leaving, staying = hub.browser("ada", server), hub.browser("ada", server)
    with (
        leaving.connect_sync(server.at("chat")) as socket,
        staying.connect_sync(server.at("chat")) as other,
    ):
        assert says(socket, "hi")
        leaving.log_out()
        assert end_of(socket, RECHECK + SLACK) == (4401, "your login has ended")
        assert leaving.status(server.at("chat")) == 403
        assert says(other, "still here")


def test_a_logout_at_the_server_closes_that_browsers_sockets_at_once(hub, server):
    leaving, staying = hub.browser("ada", server), hub.browser("ada", server)
    with (
        leaving.connect_sync(server.at("chat")) as socket,
        staying.connect_sync(server.at("chat")) as other,
    ):
        assert says(socket, "hi")
        cookie = leaving.credentials(leaving.door.url(server.at("chat")))
        leaving.fetch(server.at("logout"))
        assert end_of(socket, SLACK) == (4401, "you have logged out")
        assert says(other, "still here")
        # The Hub has not been told yet, and would still take the token of the old cookie.
        stolen = hub.browser()
        assert stolen.status(server.at("chat"), headers=cookie) == 403
        elsewhere = {"Cookie": f"{cookie['Cookie']}; jupyterhub-session-id=another"}
        assert stolen.status(server.at("chat"), headers=elsewhere) == 403


def test_a_user_who_leaves_the_group_is_put_out_with_4403_and_let_in_again_later(hub, server):
    hub.share(server, user="bob")
    browser = hub.browser("bob", server)
    with (
        browser.connect_sync(server.at("staff")) as socket,
        browser.connect_sync(server.at("chat")) as open_to_all,
    ):
        assert says(socket, "hi")
        hub.remove_from_group("staff", "bob")
        assert end_of(socket, RECHECK + SLACK) == (4403, "you are no longer allowed here")
        assert browser.status(server.at("staff")) == 403
        assert says(open_to_all, "still here")
    hub.add_to_group("staff", "bob")
    wait_for(
        lambda: browser.status(server.at("staff")) == 101, RECHECK + SLACK, "the group to count"
    )
    hub.unshare(server, user="bob")


def test_a_share_that_is_withdrawn_puts_its_user_out_with_4403_and_not_the_owner(hub, server):
    hub.share(server, user="bob")
    guest, owner = hub.browser("bob", server), hub.browser("ada", server)
    with (
        guest.connect_sync(server.at("chat")) as socket,
        owner.connect_sync(server.at("chat")) as own,
    ):
        assert says(socket, "hi")
        hub.unshare(server, user="bob")
        assert end_of(socket, RECHECK + SLACK) == (4403, "you are no longer allowed here")
        assert guest.status(server.at("chat")) == 403
        assert says(own, "still here")
    hub.share(server, user="bob")
    wait_for(
        lambda: guest.status(server.at("chat")) == 101, RECHECK + SLACK, "the share to count again"
    )
    hub.unshare(server, user="bob")


BROWSER = {"Sec-Fetch-Mode": "websocket"}
"""Without it, JupyterHub takes no token in the query."""

WAYS = {
    "the Hub's cookie": lambda hub, server: (hub.browser("ada", server), ""),
    "the Hub's token in the header": lambda hub, server: (hub.script(hub.token("ada")), ""),
    "the Hub's token in the query": lambda hub, server: (
        hub.script(None),
        f"?token={hub.token('ada')}",
    ),
}


@pytest.mark.parametrize("turn", ["no", "raises"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_ends_with_4403_when_the_authorizer_begins_to_say_no(hub, server, way, turn):
    client, query = WAYS[way](hub, server)
    admin = hub.script(hub.token("ada"))
    with (
        admin.connect_sync(server.at("turn")) as control,
        client.connect_sync(server.at("staff") + query, headers=BROWSER) as socket,
        client.connect_sync(server.at("chat") + query, headers=BROWSER) as beside,
    ):
        assert says(socket, "hi")
        assert says(beside, "hi")
        assert says(control, turn)
        assert end_of(socket, RECHECK + SLACK) == (4403, "you are no longer allowed here")
        assert says(control, "back")
        assert says(beside, "still here")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_ends_with_4403_when_the_user_leaves_the_group(hub, server, way):
    client, query = WAYS[way](hub, server)
    with client.connect_sync(server.at("staff") + query, headers=BROWSER) as socket:
        assert says(socket, "hi")
        hub.remove_from_group("staff", "ada")
        try:
            assert end_of(socket, RECHECK + SLACK) == (4403, "you are no longer allowed here")
        finally:
            hub.add_to_group("staff", "ada")


def test_a_token_in_the_query_that_is_revoked_closes_its_sockets_with_4401(hub, server):
    token = hub.token("ada")
    path = server.at("chat") + f"?token={token}"
    with hub.script(None).connect_sync(path, headers=BROWSER) as socket:
        assert says(socket, "hi")
        hub.revoke("ada", token)
        assert end_of(socket, RECHECK + SLACK) == (4401, "your login has ended")


def test_two_hundred_sockets_of_twenty_users_cost_one_question_per_login_and_period(hub, server):
    for user in CROWD:
        hub.share(server, user=user)
    scripts = [hub.script(hub.token(user)) for user in CROWD]
    before = {user: hub.questions(user) for user in CROWD}
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        sockets = [
            stack.enter_context(script.connect_sync(server.at("chat")))
            for _ in range(10)
            for script in scripts
        ]
        assert len(sockets) == 200
        wait_for(
            lambda: all(hub.questions(user) >= before[user] + 3 for user in CROWD),
            60,
            "three questions about each",
        )
        assert all(says(socket, "hi") for socket in sockets)
        asked = {user: hub.questions(user) - before[user] for user in CROWD}
        seconds = time.monotonic() - started
    # One at the first handshake, then one a period at most.
    assert max(asked.values()) <= seconds / RECHECK + 1, asked
    assert min(asked.values()) >= 3


def test_while_the_hub_is_down_nobody_is_put_out_and_afterwards_it_is_asked_again(hub, server):
    token, revoked = hub.token("ada"), hub.token("ada")
    known, leaving = hub.script(token), hub.script(revoked)
    with (
        known.connect_sync(server.at("chat")) as socket,
        leaving.connect_sync(server.at("chat")) as doomed,
    ):
        hub.revoke("ada", revoked)
        hub.stop_hub()
        failures = server.log_text().count("Error connecting to")
        wait_for(
            lambda: server.log_text().count("Error connecting to") >= failures + 4,
            4 * RECHECK + 20,
            "two questions about each that nobody answered",
        )
        assert says(socket, "the Hub is down")
        assert says(doomed, "and has not said no")
        # Who was let in a while ago still is; nobody new is.
        assert known.status(server.at("chat")) == 101
        assert hub.script("a-token-that-nobody-knows").status(server.at("chat")) == 503
        hub.start_hub()
        assert end_of(doomed, RECHECK + 20) == (4401, "your login has ended")
        assert says(socket, "the Hub is back")


def test_a_large_body_of_a_stranger_through_the_proxy_costs_the_server_nothing(hub, server):
    stranger, own = hub.script(), hub.script(hub.token("ada"))
    api = server.at("wshandler/api/tickets")
    # What a first request of a kind loads is not the body's.
    for path in (api, server.at("chat")):
        assert stranger.fetch(path, method="POST", data=b"[]").status == 403
    assert own.fetch(api, method="POST", data=b"[]").status == 400
    large = sized(objects(30 * MIB))
    host, port = hub.door.address
    proxy = SimpleNamespace(host=host, port=port, url=f"http://{host}:{port}/")
    with own.connect_sync(server.at("chat")) as socket:
        for client, path, status in (
            (stranger, api, 403),
            (stranger, server.at("chat"), 403),
            (own, api, 413),
            (own, server.at("chat"), 405),
        ):
            fields = list(client.credentials(path).items())
            with watched(server.pid) as watch:
                answer = send(proxy, path, "POST", large, fields)
            assert answer.status == status, answer
            assert watch.growth < 8 * MIB
            assert says(socket, "still here")


def test_a_hub_that_is_down_for_longer_than_the_grace_ends_a_connection_and_lets_nobody_in(
    hub, server
):
    script, browser = hub.script(hub.token("ada")), hub.browser("ada", server)
    with (
        script.connect_sync(server.at("impatient")) as socket,
        browser.connect_sync(server.at("impatient")) as other,
        script.connect_sync(server.at("chat")) as patient,
    ):
        assert says(socket, "hi")
        assert says(other, "hi")
        hub.stop_hub()
        try:
            for one in (socket, other):
                code, reason = end_of(one, 5 + 3 * RECHECK + SLACK)
                assert (code, reason[:42]) == (4401, "nobody could be asked about your login for")
            assert script.status(server.at("impatient")) == 503
            assert says(patient, "a longer grace")
            assert script.status(server.at("chat")) == 101
        finally:
            hub.start_hub()
    wait_for(lambda: script.status(server.at("impatient")) == 101, 30, "the Hub to be asked again")


def test_a_proxy_that_is_restarted_costs_the_sockets_and_clients_come_back(hub, server):
    browser = hub.browser("ada", server)
    with browser.connect_sync(server.at("chat")) as socket:
        assert says(socket, "hi")
        hub.stop_proxy()
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            socket.recv(timeout=20)
    hub.start_proxy()

    def back() -> bool:
        with contextlib.suppress(OSError):
            return browser.status(server.at("chat")) == 101
        return False

    wait_for(back, 60, "the new proxy and its routes")
