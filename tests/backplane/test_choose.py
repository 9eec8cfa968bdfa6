"""Which backplane a URL means, and what is said where it means none."""

from __future__ import annotations

import sys

import pytest

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
    with pytest.raises(ValueError, match=r"pip install .*\[redis\]"):
        open_backplane("redis://127.0.0.1/0")


@pytest.mark.parametrize(
    "url", ["", "redis", "http://u:pw@h/", "redis:h", "memory:/", "redis://h\n"]
)
def test_another_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="expected memory://") as refusal:
        open_backplane(url)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster"])
def test_a_program_cannot_publish_to_a_cluster_and_is_told_what_to_do(scheme):
    with pytest.raises(ValueError, match="a cluster cannot be published to") as refusal:
        open_publisher(f"{scheme}://u:pw@h:1")
    assert "`jupyter wshandler send` without --backplane" in str(refusal.value)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:b", "é", "x" * 65, "a*"])
def test_a_prefix_that_reaches_beyond_its_deployment_is_refused(prefix):
    with pytest.raises(ValueError, match="1 to 64 letters"):
        open_backplane("redis://127.0.0.1/0", prefix=prefix)
