"""Bots that raise what is no Exception, in every place where code of the user's runs.

The text of `BOTS` is a module of a server, a cell of a kernel and a bot of `Chat` alike. What is
raised is named by the query: ``/bad/open?raises=SystemExit``.
"""

from __future__ import annotations

from support.bots import bot_text

RAISED = (
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
    "CancelledError",
    "BaseExceptionGroup",
    "Own",
    "Unspeakable",
)

CLOSED = (
    "open",
    "on_message",
    "on_pong",
    "on_error",
    "every",
    "awaitable",
    "body",
    "finally",
    "generator",
    "generator_on_loop",
)
"""Places whose connection ends with 1011, or hears of an error where it stays open."""

SILENT = ("on_close", "aclose", "start_task", "create_task", "ensure_future", "threadsafe")
"""Places of which the client hears nothing: they come beside its messages, or after it."""

RULES = ("condition", "select_subprotocol", "get_compression_options")
"""Places that are asked before the handshake is answered."""

LOOSE = ("call_soon", "call_later", "stop")
"""Plain functions that the event loop calls: nothing stands between them and the loop."""

BOTS = bot_text("raising")


def namespace() -> dict:
    """Return what the bots' module holds."""
    space: dict = {"__name__": "raising_bots"}
    exec(BOTS, space)
    return space


def config() -> str:
    """Return the routes of all places, for a module that is called ``bots``."""
    lines = ["url:", "  echo: {pattern: /echo, handler: WebSocketHandler,"]
    lines.append("         kwargs: {on_message: bots.echo}}")
    for place, functions in namespace()["PLACES"].items():
        kwargs = []
        for key, value in functions.items():
            if key == "every":
                (seconds, function), *_ = value.items()
                kwargs.append(f"every: {{{seconds}: bots.{function.__name__}}}")
            elif key == "run":
                kwargs.append(f"run: {value}")
            elif key == "condition":
                kwargs.append("auth: {condition: bots.fails}")
            else:
                kwargs.append(f"{key}: bots.{value.__name__}")
        lines.append(f"  {place}: {{pattern: /bad/{place}, handler: WebSocketHandler,")
        lines.append(f"    kwargs: {{{', '.join(kwargs)}}}}}")
    return "\n".join(lines) + "\n"
