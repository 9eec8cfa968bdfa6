"""A wrong setting of the extension costs the routes, and not what is enforced."""

from __future__ import annotations

import pytest
from support.frames import text
from support.server import running_server
from support.wire import Wire

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


SWITCHING = "import sys\n\nasync def echo(handler, message):\n    return sys.getswitchinterval()\n"


@pytest.mark.parametrize(("options", "seconds"), [([], 0.0005), (["switch_interval=0.002"], 0.002)])
def test_threads_that_compute_hand_over_soon(tmp_path, options, seconds):
    with (
        running_server(
            YAML,
            folder=tmp_path,
            modules={"bot.py": SWITCHING},
            extra_args=[f"--WSHandlerApp.{option}" for option in options],
        ) as server,
        Wire(server, "/bot", text("how long?")) as wire,
    ):
        assert float(wire.message()) == pytest.approx(seconds)


def test_how_soon_threads_hand_over_can_be_left_to_python(tmp_path):
    config = tmp_path / "jupyter_server_config.py"
    config.write_text("c.WSHandlerApp.switch_interval = None\n")
    with (
        running_server(
            YAML,
            folder=tmp_path / "server",
            modules={"bot.py": SWITCHING},
            extra_args=[f"--config={config}"],
        ) as server,
        Wire(server, "/bot", text("how long?")) as wire,
    ):
        assert float(wire.message()) == pytest.approx(0.005)
