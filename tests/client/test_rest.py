"""The client of the REST API: what it sends, and what becomes of each kind of answer."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answering import SECRET, answering
from support.server import free_port

from jupyter_wshandler.client.addresses import Server
from jupyter_wshandler.client.rest import request
from jupyter_wshandler.errors import ConnectError, RequestRefused


@pytest.fixture(params=["tcp", "unix"])
def place(request, tmp_path) -> Iterator[Path | None]:
    return tmp_path / "s" if request.param == "unix" else None


def test_what_is_asked_is_json_with_the_token_in_a_header_below_the_servers_base(place):
    with answering(201, b'{"id": "a"}', at=place) as (server, heard):
        assert request(server, "POST", "shares", {"route": "x"}) == {"id": "a"}
    ((method, path, headers, body),) = heard
    assert (method, path, json.loads(body)) == ("POST", "/me/wshandler/api/shares", {"route": "x"})
    assert headers["Authorization"] == f"token {SECRET}"
    assert headers["Content-Type"] == "application/json"


def test_an_answer_without_a_body_is_none():
    with answering(204, b"") as (server, _):
        assert request(server, "DELETE", "shares/a") is None


@pytest.mark.parametrize("token", [None, ""])
def test_it_is_shown_that_no_page_of_another_site_asks(token):
    with answering(204, b"") as (server, heard):
        request(server, "DELETE", "shares/a", token=token)
    headers = heard[0][2]
    assert ("Authorization" in headers) == (token is None)
    assert headers["Cookie"] == f"_xsrf={headers['X-XSRFToken']}"


def test_who_sends_no_token_is_told_to_log_in():
    with answering(403, b'{"message": "log in first"}') as (server, _):
        with pytest.raises(RequestRefused, match=r"asks for a login; .* token="):
            request(server, "GET", "shares", token="")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (409, b'{"message": "takes no guests"}', "application/json", "takes no guests"),
        (403, b'{"message": "off; a-secret"}', "application/json", r"off; \*\*\*"),
        (404, b"<h1>Not Found</h1>", "text/html", "is jupyter_wshandler installed"),
        (404, b'{"message": "no share a"}', "application/json", "no share a"),
        (302, b"", "text/html", "does not know the token that was sent; .* token="),
        (
            403,
            b'{"message": "log in first, or ..."}',
            "application/json",
            "does not know the token",
        ),
        (500, b"a-secret", "text/plain", "answers 500"),
        (200, b"<h1>Welcome</h1>", "text/html", "answers as no Jupyter server does"),
        (200, b"{", "application/json", "answers as no Jupyter server does"),
        (400, b"[]", "application/json", "answers 400"),
    ],
)
def test_an_answer_that_is_no_success_is_raised_with_its_words(status, body, kind, words):
    with answering(status, body, kind) as (server, heard), pytest.raises(RequestRefused) as caught:
        request(server, "GET", "shares")
    caught.match(words)
    assert caught.value.status == status
    assert SECRET not in str(caught.value)
    assert len(heard) == 1, "a redirect is not followed"


def test_nobody_there_or_no_answer_is_a_connect_error_that_says_so():
    with pytest.raises(ConnectError, match="is the server running"):
        request(Server(f"http://127.0.0.1:{free_port()}/"), "GET", "shares")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConnectError, match=r"did not answer within 0\.2 s"):
            request(Server(f"http://127.0.0.1:{port}/"), "GET", "shares", timeout=0.2)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert os.environ["HTTP_PROXY"]
    with answering(200, b"{}") as (server, _):
        assert request(server, "GET", "shares") == {}
