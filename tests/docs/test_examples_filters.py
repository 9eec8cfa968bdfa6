"""The example with filters: what it writes down, what it hides, and what it refuses."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from types import ModuleType

from jupyter_wshandler.cli import main
from jupyter_wshandler.testing import Chat

FOLDER = Path(__file__).parents[2] / "examples" / "filters"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_check_finds_nothing_wrong_in_it(capsys):
    assert main(["check", str(FOLDER / "wshandler.yaml")]) == 0
    assert "no problems" in capsys.readouterr().out


def test_it_writes_down_what_passes_and_hides_cards(caplog):
    caplog.set_level(logging.INFO, logger="audit")
    guarding = load("guarding")
    filters = [guarding.Audit, guarding.Cards]
    with Chat(load("desk"), options={"filters": filters}, name="desk", user="ada") as chat:
        chat.send("My order 4711 is late.")
        chat.expect("You say: My order 4711 is late.")
        chat.expect("Somebody will look after it.")
        chat.send("My card is 4111 1111 1111 1111.")
        reason = "never tell a bot the number of a card"
        chat.expect({"error": "message", "reason": reason})
        chat.handler.write_message("4111-1111-1111-1111")
        chat.expect("(card)")
        start = f"desk {chat.handler.id} ada "
    assert guarding.Cards.hidden == {"desk": 1}
    told = '\'{"error":"message","reason":"never tell a bot the number of a card"}\''
    assert [line.removeprefix(start) for line in caplog.messages] == [
        "open",
        "in 'My order 4711 is late.'",
        "out 'You say: My order 4711 is late.'",
        "out 'Somebody will look after it.'",
        "in 'My card is 4111 1111 1111 1111.'",
        f"out {told}",
        "out '(card)'",
        "close 1000",
    ]
