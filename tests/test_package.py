"""The package as it is imported: what it names, and what it does not load."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import jupyter_wshandler

# Importing jupyter_server takes over a second, and a kernel or a callback module needs none of it.
HEAVY = ("jupyter_server", "tornado.web", "tornado.websocket", "tornado.httpserver", "IPython")

MODULES = (
    "jupyter_wshandler",
    "jupyter_wshandler.connection.connection",
    "jupyter_wshandler.manager.manager",
    "jupyter_wshandler.cli",
    "jupyter_wshandler.callbacks.run",
    "jupyter_wshandler.config.loader",
    "jupyter_wshandler.transports.handover",
    "jupyter_wshandler.sessions.manager",
)


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a new Python has after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_loads_no_server(module) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not loaded.intersection(HEAVY)


def test_importing_the_package_alone_loads_nothing_else_of_it() -> None:
    ours = {name for name in loaded_by("import jupyter_wshandler") if "jupyter_wshandler" in name}
    assert ours == {"jupyter_wshandler"}


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert set(jupyter_wshandler.__all__) <= set(dir(jupyter_wshandler))
    for name in jupyter_wshandler.__all__:
        assert getattr(jupyter_wshandler, name) is not None
    assert sorted(jupyter_wshandler.__all__) == jupyter_wshandler.__all__


def test_using_every_public_name_loads_no_server() -> None:
    loaded = loaded_by("from jupyter_wshandler import *")
    assert "jupyter_wshandler.manager.manager" in loaded
    assert not loaded.intersection(HEAVY)


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jupyter_wshandler.nothing
    with pytest.raises(ImportError):
        exec("from jupyter_wshandler import nothing")


def test_the_tree_of_exceptions_in_the_docstring_is_the_one_in_the_code() -> None:
    errors = importlib.import_module("jupyter_wshandler.errors")
    drawn = [line.strip(" │├└─").split()[0] for line in errors.__doc__.splitlines() if "──" in line]
    defined = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert ["WSHandlerError", *drawn] == defined
    for name in defined:
        assert issubclass(getattr(errors, name), errors.WSHandlerError)
