"""`wsh.console()`: a frame and a link that are right in a browser, and no token in either."""

from __future__ import annotations

import pytest

import jupyter_wshandler as wsh
from jupyter_wshandler.client.addresses import Server
from jupyter_wshandler.errors import ServerNotFound


@pytest.fixture
def at_hub(monkeypatch):
    """Let this process be a kernel of a user's server under JupyterHub."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:8899/user/ann@example.org/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-secret")


@pytest.fixture
def under_a_server(monkeypatch):
    """Let this process be a kernel of somebody's own server."""
    for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def running_at(url: str) -> None:
        found = Server(url, "a-secret")
        monkeypatch.setattr("jupyter_wshandler.client.servers.running_servers", lambda: [found])
        monkeypatch.setattr("jupyter_wshandler.client.servers.starter_pid", lambda: 0)

    running_at("http://localhost:8899/base/")
    return running_at


def test_a_cell_shows_a_frame_and_a_link_by_the_path_alone(under_a_server):
    shown = wsh.console(height=400)
    text = shown._repr_html_()
    assert '<iframe src="/base/wshandler/" title="Console" width="100%" height="400"' in text
    assert '<a href="/base/wshandler/" target="_blank"' in text
    assert repr(shown) == f"<Console {shown.url}>"
    assert shown.url == "http://localhost:8899/base/wshandler/"
    assert "a-secret" not in text + repr(shown)


def test_under_a_hub_which_lets_nothing_frame_it_a_cell_shows_the_link_alone(at_hub):
    shown = wsh.console(height=400)
    path = "/user/ann@example.org/wshandler/"
    text = shown._repr_html_()
    assert f'<a href="{path}" target="_blank"' in text
    assert "iframe" not in text
    assert shown.url == f"http://127.0.0.1:8899{path}"
    assert "a-secret" not in text + repr(shown)


def test_of_another_server_a_link_alone_is_shown():
    shown = wsh.console("http://example.org/base?token=abc")
    text = shown._repr_html_()
    assert "iframe" not in text
    assert 'href="http://example.org/base/wshandler/"' in text
    assert "abc" not in text + repr(shown)


def test_what_stands_in_an_address_is_text(under_a_server):
    under_a_server('http://127.0.0.1:1/a"><script>/')
    text = wsh.console()._repr_html_()
    assert "<script>" not in text
    assert text.count("&quot;&gt;&lt;script&gt;") == 2


@pytest.mark.parametrize("height", [0, 99, 10_001, True, "400", 400.0])
def test_a_height_that_is_none_is_refused(height):
    with pytest.raises(ValueError, match="height: expected pixels from 100 to 10000, found"):
        wsh.console(height=height)


def test_without_a_server_it_says_what_was_looked_for(monkeypatch, tmp_path):
    for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ServerNotFound, match="no Jupyter server found"):
        wsh.console()
