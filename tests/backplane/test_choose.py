"""Which backplane a URL means, and what is said where it means none."""

from __future__ import annotations

import sys

import pytest

from jupyter_wshandler import backplane
from jupyter_wshandler.backplane.choose import open_backplane, open_publisher
from jupyter_wshandler.backplane.memory import MemoryBackplane


def test_memory_is_a_server_alone():
    assert isinstance(open_backplane("memory://"), MemoryBackplane)


def test_without_redis_py_the_extra_is_named(monkeypatch):
    for name in [one for one in sys.modules if one.startswith("jupyter_wshandler.backplane.redis")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [one for one in sys.modules if one.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    # The attempt leaves an empty package there, in which other tests would find nothing.
    monkeypatch.setattr(backplane, "redis", None, raising=False)
    with pytest.raises(ValueError, match=r"pip install .*\[redis\]"):
        open_backplane("redis://127.0.0.1/0")


@pytest.mark.parametrize(
    "url", ["", "redis", "http://u:pw@h/", "redis:h", "memory:/", "redis://h\n"]
)
def test_another_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="expected memory://") as refusal:
        open_backplane(url)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize("option", ["protocol=3", "decode_responses=true", "socket_timeout=1"])
@pytest.mark.parametrize("place", ["redis://h/0", "redis+sentinel://h/s", "redis+cluster://h"])
def test_what_is_decided_here_is_no_option_of_a_url(place, option):
    """What replies look like, and how long is waited, would depend on it."""
    name = option.partition("=")[0]
    for opens in (open_backplane, open_publisher):
        with pytest.raises(ValueError, match=f"unknown option '{name}' behind the question mark"):
            opens(f"{place}?{option}")


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:b", "é", "x" * 65, "a*"])
def test_a_prefix_that_reaches_beyond_its_deployment_is_refused(prefix):
    with pytest.raises(ValueError, match="1 to 64 letters"):
        open_backplane("redis://127.0.0.1/0", prefix=prefix)
