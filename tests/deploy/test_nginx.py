"""The configuration in examples/nginx, in a real nginx in front of a real server."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
import websockets.sync.client
from support.need import need
from support.nginx import HOST, RunningNginx, running_nginx
from support.server import running_server, wait_for
from support.sharing import revoke, share, token_of
from websockets.exceptions import InvalidStatus

from jupyter_wshandler.config.model import Place, RouteConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
README = EXAMPLES / "nginx" / "README.md"


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory):
    """Return a server with the example bots, and the nginx in front of it."""
    folder = tmp_path_factory.mktemp("behind-nginx")
    with (
        running_server(
            EXAMPLES / "pingbot" / "wshandler.yaml",
            folder=folder / "jupyter",
            base_url="/jupyter/",
            extra_args=[
                "--ServerApp.trust_xheaders=True",
                f"--ServerApp.local_hostnames=['localhost', '{HOST}']",
                "--debug",
            ],
        ) as server,
        running_nginx(folder / "nginx", server.port) as nginx,
    ):
        yield server, nginx


def connect(nginx: RunningNginx, tls: bool, path="/jupyter/pingbot", origin=None, headers=None):
    """Open a socket the way a browser at HOST would, through nginx."""
    port = nginx.port(tls)
    return websockets.sync.client.connect(
        f"{'wss' if tls else 'ws'}://{HOST}:{port}{path}",
        sock=socket.create_connection(("127.0.0.1", port), timeout=20),
        ssl=nginx.tls_context() if tls else None,
        origin=origin,
        additional_headers=headers,
        compression=None,
    )


def get(nginx: RunningNginx, tls: bool, path: str, headers=None) -> http.client.HTTPResponse:
    """Send a GET for a page of HOST through nginx."""
    port = nginx.port(tls)
    client = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=nginx.tls_context())
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    )
    try:
        client.request("GET", path, headers={"Host": f"{HOST}:{port}"} | (headers or {}))
        answer = client.getresponse()
        answer.read()
        return answer
    finally:
        client.close()


def cookies_set(headers) -> SimpleCookie:
    """Return the cookies of an answer, which has one Set-Cookie field for each."""
    get_all = getattr(headers, "get_all", None)
    jar = SimpleCookie()
    for value in get_all("Set-Cookie") or ():
        jar.load(value)
    return jar


def log_in(server, nginx: RunningNginx, tls: bool) -> str:
    """Log in as a browser does, with the token in the address; return its Cookie field."""
    answer = get(nginx, tls, f"/jupyter/pingbot?token={server.token}")
    assert answer.status == 200
    return "; ".join(f"{name}={m.value}" for name, m in cookies_set(answer.headers).items())


both_schemes = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@both_schemes
def test_a_client_with_the_token_talks_to_the_bot_through_nginx(behind_nginx, tls):
    server, nginx = behind_nginx
    with connect(nginx, tls, headers=server.headers()) as client:
        client.send("Hello world")
        assert client.recv(timeout=10) == "Got message: Hello world"
        client.send(b"\x00\xff")
        assert client.recv(timeout=10) == b"Got message: \x00\xff"


@both_schemes
def test_a_page_of_this_server_connects_with_its_login_cookie(behind_nginx, tls):
    server, nginx = behind_nginx
    cookie = log_in(server, nginx, tls)
    with connect(nginx, tls, origin=nginx.origin(tls), headers={"Cookie": cookie}) as client:
        client.send("from the page")
        assert client.recv(timeout=10) == "Got message: from the page"


@both_schemes
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        f"https://{HOST}.evil.example.com",
        f"http://{HOST}:1",
        "null",
    ],
)
def test_a_foreign_page_with_a_login_cookie_is_refused_with_403(behind_nginx, tls, origin):
    server, nginx = behind_nginx
    cookie = log_in(server, nginx, tls)
    with (
        pytest.raises(InvalidStatus) as refusal,
        connect(nginx, tls, origin=origin, headers={"Cookie": cookie}),
    ):
        pass
    assert refusal.value.response.status_code == 403


@both_schemes
def test_a_client_without_credentials_is_refused_with_403(behind_nginx, tls):
    _, nginx = behind_nginx
    with pytest.raises(InvalidStatus) as refusal, connect(nginx, tls):
        pass
    assert refusal.value.response.status_code == 403


@both_schemes
def test_the_cookies_are_secure_under_tls_and_only_there(behind_nginx, tls):
    server, nginx = behind_nginx
    with connect(nginx, tls, headers=server.headers()) as client:
        cookies = cookies_set(client.response.headers)
    name = f"wshandler-session-{nginx.port(tls)}"
    assert name in cookies, f"the 101 set {sorted(cookies)}"
    assert bool(cookies[name]["secure"]) is tls
    assert cookies[name]["httponly"]
    assert cookies[name]["samesite"] == "Lax"
    assert cookies[name]["path"] == "/jupyter/"


def test_a_client_cannot_claim_that_it_came_over_tls(behind_nginx):
    server, nginx = behind_nginx
    claims = server.headers() | {"X-Scheme": "https", "X-Forwarded-Proto": "https"}
    with connect(nginx, False, headers=claims) as client:
        cookies = cookies_set(client.response.headers)
    assert not cookies[f"wshandler-session-{nginx.plain_port}"]["secure"]


@both_schemes
def test_a_streamed_answer_arrives_word_by_word_through_nginx(behind_nginx, tls):
    server, nginx = behind_nginx
    with connect(nginx, tls, "/jupyter/storybot", headers=server.headers()) as client:
        client.send("ping")
        began = time.monotonic()
        first = json.loads(client.recv(timeout=10))
        first_after = time.monotonic() - began
        words = [first]
        while not words[-1].get("done"):
            words.append(json.loads(client.recv(timeout=10)))
        all_after = time.monotonic() - began
    assert len(words) > 50
    assert "“ping”" in "".join(word.get("token", "") for word in words)
    # A proxy that buffers would hand everything over at the end.
    assert first_after < all_after / 2


@both_schemes
def test_a_header_that_stalls_is_ended_by_nginx_and_never_reaches_jupyter(behind_nginx, tls):
    _, nginx = behind_nginx
    with socket.create_connection(("127.0.0.1", nginx.port(tls)), timeout=10) as plain:
        sock = nginx.tls_context().wrap_socket(plain, server_hostname=HOST) if tls else plain
        with sock:
            begun = time.monotonic()
            sock.sendall(f"GET /jupyter/pingbot HTTP/1.1\r\nHost: {HOST}\r\n".encode())
            answer = sock.recv(100)
            # The tests write 1 s where the example has 10.
            assert 0.5 < time.monotonic() - begun < 5
            assert not answer or answer.startswith(b"HTTP/1.1 408 ")


@both_schemes
def test_other_requests_pass_and_are_not_upgraded(behind_nginx, tls):
    server, nginx = behind_nginx
    answer = get(nginx, tls, "/jupyter/api/status", server.headers())
    assert answer.status == 200
    login = get(nginx, tls, "/jupyter/pingbot")
    assert login.status == 302
    assert login.headers["Location"].startswith("/jupyter/login?next=")


def test_426_is_sound_where_nginx_speaks_http2_to_a_client(tmp_path):
    # nginx 1.22 passes a field Upgrade on, which is malformed in HTTP/2; curl drops the answer.
    routes = (
        "url: {bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}}"
    )
    modules = {"bot.py": "def echo(handler, message):\n    return message\n"}
    curl = need("curl")
    with (
        running_server(
            routes, folder=tmp_path / "jupyter", modules=modules, base_url="/jupyter/"
        ) as server,
        running_nginx(tmp_path / "http2", server.port, http2=True) as nginx,
    ):
        asked = subprocess.run(
            [
                *(curl, "--silent", "--show-error", "--include", "--http2", "--max-time", "20"),
                *("--noproxy", "*", "--cacert", nginx.certificate),
                *("--header", f"Authorization: token {server.token}"),
                f"https://localhost:{nginx.port(True)}/jupyter/bot",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("HTTP/2 426")
    assert asked.stdout.endswith("426: this is a WebSocket; connect to it with ws:// or wss://\n")


def test_nginx_waits_longer_than_our_pings_take():
    text = (EXAMPLES / "nginx" / "jupyter-location.conf").read_text()
    route = RouteConfig(name="any", pattern="/any", place=Place("any"))
    for setting in ("proxy_read_timeout", "proxy_send_timeout"):
        seconds = int(re.search(rf"{setting} (\d+)s;", text)[1])
        assert seconds > route.ping_interval + route.ping_timeout


def test_the_readme_names_what_the_tests_give_the_server():
    text = README.read_text()
    for setting in ("trust_xheaders = True", 'base_url = "/jupyter/"', f'"{HOST}"]'):
        assert setting in text


def test_no_log_of_nginx_or_the_server_behind_it_has_the_token_of_a_link(behind_nginx):
    server, nginx = behind_nginx
    made = share(server, route="pingbot")
    link = f"/jupyter/pingbot?share_token={token_of(made)}"
    answer = get(nginx, False, link, {"Accept": "text/html"})
    assert (answer.status, answer.headers["Location"]) == (302, "./pingbot")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def ask(method: str, path: str, **fields: str) -> str:
        client = http.client.HTTPConnection("127.0.0.1", nginx.port(False), timeout=20)
        fields["Host"] = f"{HOST}:{nginx.port(False)}"
        with closing(client):
            client.request(method, path, headers=fields)
            return client.getresponse().read().decode()

    page = ask("GET", "/jupyter/pingbot", Cookie=cookie, Accept="text/html")
    ticket = re.search(r'name="wshandler-guest" content="([\w-]{32})"', page)[1]
    asked = ask("POST", f"/jupyter/wshandler/guest/{ticket}/ticket", Origin="null")
    once = json.loads(asked)["ticket"]
    for path, origin in ((f"/jupyter/pingbot?ws_token={once}", "null"), (link, None)):
        with connect(nginx, False, path, origin=origin) as socket_:
            socket_.send("Hello")
            assert socket_.recv(timeout=10) == "Got message: Hello"
    assert revoke(server, made["id"]) == 204
    assert get(nginx, False, link, {"Accept": "text/html"}).status == 403
    access = nginx.log_path.parent / "jupyter.log"
    wait_for(lambda: '"GET /jupyter/pingbot" 403' in access.read_text(), what="the log")
    assert '"POST /jupyter/wshandler/guest/[secret]/ticket" 200' in access.read_text()
    wait_for(lambda: "403 GET /jupyter/pingbot?share_token=[secret]" in server.log_text())
    for secret in (token_of(made), ticket, once):
        for log in (access.read_text(), nginx.log_text(), server.log_text()):
            assert secret not in log
