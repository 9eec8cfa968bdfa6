"""Modules that break Python's import machinery: named with file and line, and mended by a save."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

GOOD = "def on_message(handler, message):\n    return 'hostile'\n"

BREAKS = {
    "sys.modules is None": "import sys\nsys.modules = None\n",
    "sys.modules is empty": "import sys\nsys.modules = {}\n",
    "sys.modules is cleared": "import sys\nsys.modules.clear()\n",
    "sys.modules without us": (
        "import sys\nfor n in [n for n in sys.modules if 'wshandler' in n]: del sys.modules[n]\n"
    ),
    "sys.modules without importlib": "import sys\nsys.modules['importlib'] = None\n",
    "sys.modules with a number": "import sys\nsys.modules[5] = 5\n",
    "itself is None": "import sys\nsys.modules[__name__] = None\n",
    "itself is gone": "import sys\ndel sys.modules[__name__]\n",
    "itself is a number": "import sys\nsys.modules[__name__] = 5\n",
    "__import__ is None": "import builtins\nbuiltins.__import__ = None\n",
    "__import__ raises": "import builtins\nbuiltins.__import__ = lambda *a, **k: 1 / 0\n",
    "isinstance is None": "import builtins\nbuiltins.isinstance = None\n",
    "open is gone": "import builtins\ndel builtins.open\n",
    "import_module is None": "import importlib\nimportlib.import_module = None\n",
    "import_module raises": "import importlib\nimportlib.import_module = lambda name: 1 / 0\n",
    "invalidate_caches is None": "import importlib\nimportlib.invalidate_caches = None\n",
    "find_spec is None": "import importlib.util\nimportlib.util.find_spec = None\n",
    "find_spec raises": "import importlib.util\nimportlib.util.find_spec = lambda name: 1 / 0\n",
    "cache_from_source is None": "import importlib.util\nimportlib.util.cache_from_source = None\n",
    "importlib.util is gone": "import sys\ndel sys.modules['importlib.util']\n",
    "PathFinder is broken": (
        "from importlib.machinery import PathFinder\nPathFinder.find_spec = None\n"
    ),
    "sys.path is None": "import sys\nsys.path = None\n",
    "sys.path is empty": "import sys\nsys.path.clear()\n",
    "sys.path is junk": "import sys\nsys.path[:] = [5, None]\n",
    "sys.meta_path is None": "import sys\nsys.meta_path = None\n",
    "sys.meta_path is empty": "import sys\nsys.meta_path.clear()\n",
    "sys.meta_path with a number": "import sys\nsys.meta_path.insert(0, 5)\n",
    "sys.path_hooks is None": "import sys\nsys.path_hooks = None\n",
    "sys.path_hooks is empty": "import sys\nsys.path_hooks.clear()\n",
    "sys.path_importer_cache is None": "import sys\nsys.path_importer_cache = None\n",
    "settrace": "import sys\nsys.settrace(5)\n",
    "recursion limit": "import sys\nsys.setrecursionlimit(60)\n",
    "os.stat is None": "import os\nos.stat = None\n",
    "Thread is None": "import threading\nthreading.Thread = None\n",
}
"""Each breaks something in its second line."""

LIES = {
    "__name__ is None": "__name__ = None\n",
    "__name__ is another": "__name__ = 'os'\n",
    "__file__ is None": "__file__ = None\n",
    "__file__ is a number": "__file__ = 5\n",
    "__file__ is another": "__file__ = '/etc/hosts'\n",
    "__file__ is no path": "__file__ = 'a\\0b'\n",
    "__file__ is gone": "del __file__\n",
    "__spec__ is None": "__spec__ = None\n",
    "__spec__ is a number": "__spec__ = 5\n",
    "__spec__ raises": "class S:\n    __getattr__ = lambda *a: 1 / 0\n__spec__ = S()\n",
    "__path__ is a number": "__path__ = 5\n",
    "__path__ is text": "__path__ = 'x'\n",
    "__path__ raises": "class P:\n    __iter__ = lambda *a: 1 / 0\n__path__ = P()\n",
    "__loader__ is a number": "__loader__ = 5\n",
    "__package__ is a number": "__package__ = 5\n",
    "nothing but the function": "globals().clear()\n",
    "a good folder more": "import sys\nsys.path.insert(0, '/nowhere')\n",
    "an import hook that works": (
        "import sys\nclass F:\n    find_spec = staticmethod(lambda *a: None)\n"
        "sys.meta_path.insert(0, F())\n"
    ),
    "an __import__ that works": (
        "import builtins\nreal = builtins.__import__\n"
        "builtins.__import__ = lambda *a, **k: real(*a, **k)\n"
    ),
    "an object in its place": (
        "import sys\nclass Bot:\n    def on_message(self, handler, message): return 'hostile'\n"
        "sys.modules[__name__] = Bot()\n"
    ),
}
"""Nonsense that a module says of itself, and changes that work."""

OWN = "raise ValueError('my own')\n"


def cases() -> dict[str, dict]:
    found = {}
    for name, code in BREAKS.items():
        found[name] = {"files": {"hostbot.py": code + GOOD}, "first": False}
        found[f"{name}, raises"] = {"files": {"hostbot.py": code + OWN}, "first": False}
    for name, code in LIES.items():
        found[name] = {"files": {"hostbot.py": code + GOOD}, "first": False}
        found[f"{name}, raises"] = {"files": {"hostbot.py": code + OWN}, "first": False}
    helped = {"hostbot.py": "import hosthelp\n" + GOOD, "hosthelp.py": BREAKS["__import__ is None"]}
    found["in a helper"] = {"files": helped, "first": False}
    found["at the start"] = {
        "files": {"hostbot.py": BREAKS["sys.modules is cleared"] + GOOD},
        "first": True,
    }
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "cases.json").write_text(json.dumps(cases()))
    script = Path(__file__).parents[1] / "support" / "hostile.py"
    run = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def check_mended(found: dict) -> None:
    assert found.get("next errors") == [], found
    assert found["next answer"] == "mended"


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_imports_is_refused_with_its_line_and_the_next_save_works(results, name):
    found = results[name]
    check_mended(found)
    (error,) = found["errors"]
    assert "/hostbot.py" in error
    assert "jupyter_wshandler" not in error.replace("sys.modules['jupyter_wshandler", "")
    if name != "itself is a number":  # that is a module without the function
        assert "/hostbot.py:2: " in error, error
    assert found["answer"] == "before"


@pytest.mark.parametrize("name", [*BREAKS, *LIES])
def test_what_a_module_raises_itself_is_told_with_its_line_whatever_it_broke(results, name):
    found = results[f"{name}, raises"]
    check_mended(found)
    (error,) = found["errors"]
    line = len((BREAKS | LIES)[name].splitlines()) + 1
    if name == "settrace":  # which ends the module before its own error
        line = 2
    own = f"/hostbot.py:{line}: ValueError: my own" in error
    # Where nothing can be raised any more, what was broken is told.
    assert own or ("/hostbot.py:2: " in error and name in BREAKS), error


@pytest.mark.parametrize("name", LIES)
def test_a_module_that_says_nonsense_of_itself_is_served_and_saved_again(results, name):
    found = results[name]
    assert (found["errors"], found["answer"]) == ([], "hostile")
    check_mended(found)


def test_a_helper_that_breaks_imports_is_named_and_not_the_module_that_imports_it(results):
    found = results["in a helper"]
    (error,) = found["errors"]
    assert "/hosthelp.py:2: it breaks builtins.__import__" in error
    check_mended(found)


def test_a_route_that_begins_with_such_a_module_is_broken_with_its_line_and_mended(results):
    found = results["at the start"]
    assert "/hostbot.py:2: it breaks sys.modules[" in found["start"]
    check_mended(found)
