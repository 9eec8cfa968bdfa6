"""The bots that tests serve, and what goes with them: modules in tests/bots, named by subject."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "bots"
"""No package: the modules are the users' part, and tests write them where a user would."""


def bot_text(name: str) -> str:
    """Return the text of ``tests/bots/<name>.py``.

    It is written as a module beside a configuration, put into a cell, or executed. What a test
    needs of a bot is so seen by ruff like any other code, which a string literal is not.
    """
    return (FOLDER / f"{name}.py").read_text()
