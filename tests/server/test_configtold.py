"""What a server tells of its settings, and what of them it does not."""

from __future__ import annotations

import pytest

from jupyter_wshandler.config.model import AuthConfig, FunctionSpec, Place
from jupyter_wshandler.server.api.config import HIDDEN, shown, without_login


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memory://", "memory://"),
        ("no URL: user@example.com", "no URL: user@example.com"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hunter2@[::1]:6379/0", f"redis://{HIDDEN}@[::1]:6379/0"),
        ("rediss://ada:hunter2@host/1?password=hunter2", f"rediss://{HIDDEN}@host/1?{HIDDEN}"),
        ("http://host/x?token=hunter2#hunter2", f"http://host/x?{HIDDEN}"),
        ("redis://ada:hun/ter2@host", HIDDEN),
        ("redis://ada:1/hunter2@host", HIDDEN),
        ("redis://ada:1?hunter2@host", HIDDEN),
        ("redis://ada:hunter2@one:1,two:2/0", HIDDEN),
        ("redis://[hunter2", HIDDEN),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_of_a_url_neither_login_nor_query_is_told(text, told):
    assert without_login(text) == told
    assert "hunter2" not in without_login(text)


def test_a_value_with_the_name_of_a_secret_is_not_told_wherever_it_stands():
    found = shown("options", {"ssl_password": "x", "api_key": ["x"], "token": {"a": "x"}, "db": 1})
    assert found == {"ssl_password": HIDDEN, "api_key": HIDDEN, "token": HIDDEN, "db": 1}


def test_of_a_function_the_name_is_told_and_not_what_it_is_called_with():
    function = FunctionSpec(
        function="bot.decides", args=("hunter2",), kwargs={"key": "hunter2"}, place=Place("x")
    )
    assert shown("auth", AuthConfig(users=("ada",), condition=function)) == {
        "required": True,
        "users": ["ada"],
        "groups": [],
        "scopes": [],
        "membership": [],
        "condition": "bot.decides",
        "recheck": 60.0,
        "recheck_grace": None,
        "guests": True,
    }
    assert shown("thing", object()) == "(object)"
