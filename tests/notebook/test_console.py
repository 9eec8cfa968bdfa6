"""`wsh.console()`: a frame and a link that are right in a browser, and no token in either."""

from __future__ import annotations

import pytest

import jupyter_wshandler as wsh
from jupyter_wshandler.errors import ServerNotFound


@pytest.fixture
def at_hub(monkeypatch):
    """Let this process be a kernel of a user's server under JupyterHub."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:8899/user/ann@example.org/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-secret")


def test_a_cell_shows_a_frame_and_a_link_by_the_path_alone(at_hub):
    shown = wsh.console(height=400)
    path = "/user/ann@example.org/wshandler/"
    text = shown._repr_html_()
    assert f'<iframe src="{path}" title="Console" width="100%" height="400"' in text
    assert f'<a href="{path}" target="_blank"' in text
    assert repr(shown) == f"<Console {shown.url}>"
    assert shown.url == f"http://127.0.0.1:8899{path}"
    assert "a-secret" not in text + repr(shown)


def test_of_another_server_a_link_alone_is_shown():
    shown = wsh.console("http://example.org/base?token=abc")
    text = shown._repr_html_()
    assert "iframe" not in text
    assert 'href="http://example.org/base/wshandler/"' in text
    assert "abc" not in text + repr(shown)


def test_what_stands_in_an_address_is_text(at_hub, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", 'http://127.0.0.1:1/a"><script>/')
    assert "<script>" not in wsh.console()._repr_html_()


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
