"""Identity over time, on a real server: logout, a rotated token, a withdrawn permission."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.cookiejar
import re
import urllib.parse
import urllib.request

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server, wait_for

CONFIG = """
url:
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs:
      on_message: chat.on_message
      on_close: chat.on_close
      auth: {recheck: 300ms}
  admin:
    pattern: /admin
    handler: WebSocketHandler
    kwargs: {on_message: chat.admin}
  slow:
    pattern: /slow
    handler: WebSocketHandler
    kwargs: {on_message: chat.on_message, auth: {condition: chat.decide}}
"""

CHAT = bot_text("recheck")

AUTHORIZER = "--ServerApp.authorizer_class=chat.Authorizer"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recheck")
    with running_server(
        CONFIG,
        folder=folder,
        modules={"chat.py": CHAT},
        extra_args=[AUTHORIZER],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


class Browser:
    """A client that logs in through the form and keeps cookies, as a browser does."""

    def __init__(self, server):
        self.server = server
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def get(self, path):
        with self.opener.open(self.server.url.rstrip("/") + path, timeout=10) as answer:
            return answer.read().decode()

    def log_in(self):
        form = self.get("/login")
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', form).group(1)
        data = urllib.parse.urlencode({"_xsrf": xsrf, "password": self.server.token}).encode()
        with self.opener.open(self.server.url.rstrip("/") + "/login", data, timeout=10) as answer:
            assert "login" not in answer.url
        return self

    def cookies(self):
        return {"Cookie": "; ".join(f"{c.name}={c.value}" for c in self.jar)}

    def connect(self, path):
        return self.server.connect_sync(
            path, token=False, headers=self.cookies(), origin=self.server.url.rstrip("/")
        )


def close_of(socket, seconds=5):
    with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
        socket.recv(timeout=seconds)
    return closed.value.rcvd.code


def test_row_logout_while_connected_closes_that_browsers_sockets_with_4401_at_once(server):
    leaving, staying = Browser(server).log_in(), Browser(server).log_in()
    with leaving.connect("/chat") as one, staying.connect("/chat") as other:
        one.send("hi")
        assert one.recv(timeout=5) == "echo hi"
        cookies = leaving.cookies()
        leaving.get("/logout")
        assert close_of(one, seconds=1) == 4401
        other.send("still here")
        assert other.recv(timeout=5) == "echo still here"
    wait_for(lambda: "4401" in server.log_text(), what="on_close of the closed socket")
    # Jupyter would still take the old cookie; a socket is not opened with it again.
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        server.connect_sync("/chat", token=False, headers=cookies, origin=server.url[:-1])
    assert refused.value.response.status_code == 403


def test_a_rotated_token_closes_its_sockets_with_4401_within_the_recheck_period(server):
    with server.connect_sync("/admin") as admin, server.connect_sync("/chat") as chat:
        chat.send("hi")
        assert chat.recv(timeout=5) == "echo hi"
        admin.send("rotate another-token")
        admin.recv(timeout=5)
        assert close_of(chat) == 4401
    with server.connect_sync("/chat", token="another-token") as chat:
        chat.send("new")
        assert chat.recv(timeout=5) == "echo new"
    with server.connect_sync("/admin", token="another-token") as admin:
        admin.send(f"rotate {server.token}")
        admin.recv(timeout=5)


def test_a_withdrawn_permission_closes_only_the_sockets_of_its_route_with_4403(server):
    with server.connect_sync("/admin") as admin, server.connect_sync("/chat") as chat:
        admin.send("deny wshandler:chat")
        admin.recv(timeout=5)
        assert close_of(chat) == 4403
        admin.send("allow wshandler:chat")
        assert admin.recv(timeout=5)
    with server.connect_sync("/chat") as chat:
        chat.send("again")
        assert chat.recv(timeout=5) == "echo again"


def test_one_credential_is_asked_about_once_a_period_however_many_sockets_use_it(server):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(server.connect_sync("/chat"))
        admin = stack.enter_context(server.connect_sync("/admin"))
        admin.send("forget")
        admin.recv(timeout=5)

        def asked():
            admin.send("count")
            return admin.recv(timeout=5).count("wshandler:chat")

        # Two periods have passed when it was asked for the second time: 20 sockets, 2 questions.
        wait_for(lambda: asked() >= 2, what="two rechecks")
        assert asked() <= 4


def test_after_a_logout_a_wrong_token_beside_the_old_cookie_opens_no_socket(server):
    browser = Browser(server).log_in()
    cookies = browser.cookies()
    browser.get("/logout")
    for path, headers in (
        ("/chat?token=wrong", cookies),
        ("/chat", {**cookies, "Authorization": "token wrong"}),
        ("/chat", {**cookies, "Authorization": "Basic d3Jvbmc6d3Jvbmc="}),
    ):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            server.connect_sync(path, token=False, headers=headers, origin=server.url[:-1])
        assert refused.value.response.status_code == 403


def test_logout_closes_a_socket_that_was_opened_with_a_wrong_token_beside_the_cookie(server):
    browser = Browser(server).log_in()
    with browser.connect("/chat?token=wrong") as chat:
        chat.send("hi")
        assert chat.recv(timeout=5) == "echo hi"
        browser.get("/logout")
        assert close_of(chat) == 4401


def test_a_logout_during_the_handshake_refuses_it_at_its_end(server):
    browser = Browser(server).log_in()
    with (
        concurrent.futures.ThreadPoolExecutor(1) as threads,
        server.connect_sync("/admin") as admin,
    ):
        handshake = threads.submit(browser.connect, "/slow")
        wait_for(lambda: "deciding" in server.log_text(), what="the route's condition")
        browser.get("/logout")
        admin.send("decide")
        admin.recv(timeout=5)
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            handshake.result(10)
        assert refused.value.response.status_code == 403
