"""The link of a share as a target of the client: its token travels in a header only."""

from __future__ import annotations

import json
import os
import traceback

import pytest

from jupyter_wshandler.client.servers import find_server
from jupyter_wshandler.client.targets import resolve
from jupyter_wshandler.errors import ServerNotFound

SECRET = "AbCdEfGhIjKlMnOpQrStUv"


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path):
    """Return an empty runtime folder, in an environment that names no server."""
    for name in list(os.environ):
        if name.startswith(("JUPYTER", "JPY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def own_server(runtime):
    """Leave the runtime file of a server of one's own, with a token, that listens on loopback."""
    info = {
        "base_url": "/me/",
        "hostname": "127.0.0.1",
        "pid": os.getpid(),
        "port": 8888,
        "token": "the-owners-own",
        "url": "http://ada.local:8888/me/",
    }
    (runtime / "jpserver-1.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (f"https://ada.org/me/bot?share_token={SECRET}", "wss://ada.org/me/bot"),
        (f"http://ada.org/bot/?share_token={SECRET}", "ws://ada.org/bot/"),
        (f"ws://ada.org:81/a%20b?share_token={SECRET}", "ws://ada.org:81/a%20b"),
        (f"https://ada.org/b?x=1&share_token={SECRET}&y=a%26b", "wss://ada.org/b?x=1&y=a%26b"),
        (f"  https://ada.org/b?share_token={SECRET}\n", "wss://ada.org/b"),
        (f"https://ada.org/b?share_token={SECRET}%20", "wss://ada.org/b"),
    ],
)
def test_a_link_as_it_is_becomes_an_address_without_its_token_and_a_bearer_header(link, url):
    endpoint = resolve(link)
    assert endpoint.url == url
    assert endpoint.authorization == f"Bearer {SECRET}"
    assert endpoint.is_link
    assert SECRET not in repr(endpoint)
    assert SECRET not in endpoint.login


@pytest.mark.usefixtures("own_server")
def test_a_link_of_ones_own_server_goes_where_that_listens_and_without_ones_login():
    endpoint = resolve(f"http://ada.local:8888/me/bot?share_token={SECRET}")
    assert endpoint.url == "ws://127.0.0.1:8888/me/bot"
    assert endpoint.authorization == f"Bearer {SECRET}"
    by_path = resolve(f"/bot?share_token={SECRET}")
    assert (by_path.url, by_path.token) == ("ws://127.0.0.1:8888/me/bot", SECRET)


@pytest.mark.usefixtures("own_server")
def test_a_link_lets_in_as_a_guest_even_where_a_login_stands_beside_it():
    endpoint = resolve(f"/bot?token=the-owners-own&share_token={SECRET}")
    assert endpoint.authorization == f"Bearer {SECRET}"
    assert "token" not in endpoint.url


def test_a_token_that_is_passed_goes_in_place_of_the_links():
    link = f"https://ada.org/bot?share_token={SECRET}"
    for token, header in (("own", "token own"), ("", "")):
        endpoint = resolve(link, token=token)
        assert endpoint.authorization == header
        assert endpoint.url == "wss://ada.org/bot"
        assert not endpoint.is_link


def test_without_a_link_the_header_is_jupyters():
    assert resolve("wss://ada.org/bot?token=own").authorization == "token own"
    assert resolve("wss://ada.org/bot").authorization == ""


def test_a_link_that_lacks_its_end_is_said_to_and_no_login_is_sent_in_its_place():
    for link in ("https://ada.org/bot?share_token=", "https://ada.org/b?share_token=%20"):
        with pytest.raises(ValueError, match="copy all of it"):
            resolve(link)


@pytest.mark.parametrize(
    "link",
    [
        f"https://ada:pw@ada.org/bot?share_token={SECRET}",
        f"https:///bot?share_token={SECRET}",
        f"ftp://ada.org/bot?share_token={SECRET}",
        f"https://ada.org/../bot?share_token={SECRET}",
        f"https://ada.org/bot?share_token={SECRET}#top",
        f"https://ada.org/bot?share_token={SECRET}%00",
    ],
)
def test_no_error_about_a_link_shows_its_token(link):
    with pytest.raises(ValueError, match=r".") as caught:
        resolve(link)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_link_is_no_server():
    with pytest.raises(ValueError, match="in place of the path") as caught:
        find_server(f"http://127.0.0.1:8888/bot?share_token={SECRET}")
    assert SECRET not in str(caught.value)
    with pytest.raises(ServerNotFound):
        resolve(f"/bot?share_token={SECRET}")
