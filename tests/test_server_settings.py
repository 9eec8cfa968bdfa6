"""A wrong setting of the extension costs the routes, and not what is enforced."""

from __future__ import annotations

import pytest
from support.server import running_server

YAML = "url: {bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}}"

BOT = "def echo(handler, message):\n    return message\n"

RELIED = "a setting of c.WSHandlerApp is wrong, and so none can be relied on: "


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["enforc={'xsrf': 'ticket'}"], "unknown key 'enforc'; did you mean enforce?"),
        (["threads=0"], "threads"),
        (
            ["enforce={'max_message': '64KiB'}", "enforce=xsrf=ticket"],
            "(write all of it as one mapping, or all of it as key=value)",
        ),
    ],
)
def test_no_routes_are_served_and_the_log_says_which_setting_is_wrong(tmp_path, options, words):
    with running_server(
        YAML,
        folder=tmp_path,
        modules={"bot.py": BOT},
        extra_args=[f"--WSHandlerApp.{option}" for option in options],
    ) as server:
        assert server.fetch("bot")[0] == 404
        assert server.fetch("api/status")[0] == 200
        (line,) = [line for line in server.log_text().splitlines() if "No routes are" in line]
        assert RELIED in line
        assert words in line


def test_every_setting_that_there_is_is_known(tmp_path):
    options = ["enforce={'xsrf': 'ticket'}", "log_level=INFO", "threads=4", "open_browser=False"]
    with running_server(
        YAML,
        folder=tmp_path,
        modules={"bot.py": BOT},
        extra_args=[f"--WSHandlerApp.{option}" for option in options],
    ) as server:
        assert server.fetch("bot")[0] == 426
