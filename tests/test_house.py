"""`.ci/house`, which `make lint` runs, on small packages: each of its rules can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent / ".ci" / "house"


def house(root: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Write a package and check it; of a name, two underscores are a slash."""
    for name, text in {"__init__": "", **files}.items():
        place = name if name == "__init__" else name.replace("__", "/")
        path = root / "jupyter_wshandler" / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return subprocess.run(
        [sys.executable, str(HOUSE), str(root)], capture_output=True, text=True, timeout=60
    )


def breaches(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert result.returncode == 1, result.stdout + result.stderr
    assert "rules broken" in result.stderr
    return [line.strip() for line in result.stdout.splitlines() if line.startswith("   ")]


def function(lines: int, docstring: int = 0) -> str:
    """Return a function of so many lines besides its docstring."""
    text = (
        ['    """What it does.', *["    More."] * (docstring - 2), '    """'] if docstring else []
    )
    return "\n".join(["def long():", *text, *["    pass"] * (lines - 1)]) + "\n"


def test_a_package_as_planned_passes_and_its_numbers_are_printed(tmp_path):
    result = house(
        tmp_path,
        connection__connection="class Connection:\n    def __init__(self):\n        self._a = 1\n",
        callbacks__run="from ..connection.connection import Connection\nx.y._b\n",
        flat=function(5),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("good  ") for line in lines)
    assert "4 modules, the longest has 5 lines (jupyter_wshandler/flat.py)" in lines[0]
    assert "2 functions, the longest has 5 lines (jupyter_wshandler/flat.py:1 long)" in lines[1]
    assert "1 reaches" in lines[2]
    assert "0 reaches into a connection" in lines[3]
    assert "1 flat modules" in lines[4]
    assert "1 imports between modules, 0 circles" in lines[5]


def test_a_module_of_451_lines_is_too_long_and_one_of_450_is_not(tmp_path):
    result = house(tmp_path, a="x = 1\n" * 450, b="x = 1\n" * 451)
    assert breaches(result) == [
        "jupyter_wshandler/b.py: 451 lines, 1 more than a module may have; split it by subject"
    ]


def test_a_function_of_61_lines_is_too_long_and_its_docstring_does_not_count(tmp_path):
    result = house(tmp_path, a=function(60, docstring=5), b="\n\n" + function(61, docstring=5))
    (breach,) = breaches(result)
    assert breach.startswith("jupyter_wshandler/b.py:3: long has 61 lines, 1 more than")


def test_a_method_and_a_coroutine_are_functions(tmp_path):
    method = "class A:\n" + "".join(f"    {line}\n" for line in function(61).splitlines())
    result = house(tmp_path, a=method, b="async " + function(62))
    assert [breach.partition(":")[0] for breach in breaches(result)] == [
        "jupyter_wshandler/a.py",
        "jupyter_wshandler/b.py",
    ]


def test_41_reaches_are_too_many_and_40_are_not(tmp_path):
    assert house(tmp_path, a="x._y\n" * 40).returncode == 0
    result = house(tmp_path, a="x._y\n" * 38, folder__b="f()._z\ng[0]._z = 1\nx.y._z\n")
    assert "BAD   41 reaches" in result.stdout
    assert breaches(result) == [
        "jupyter_wshandler/a.py: 38 (x._y 38)",
        "jupyter_wshandler/folder/b.py: 3 (f()._z 1, g[0]._z 1, x.y._z 1)",
    ]


def test_an_object_may_use_its_own_private_attributes_and_everybody_double_underscores(tmp_path):
    own = "self._y\ncls._y\nsuper()._y()\nx.__class__\nx.__dict__\n"
    result = house(tmp_path, a=own * 50)
    assert result.returncode == 0, result.stdout
    assert "0 reaches" in result.stdout


CONNECTION = """\
class Connection:
    __slots__ = ("_slot", "open")
    _declared: int

    def __init__(self):
        self._set = 1

    def _method(self): ...
"""


@pytest.mark.parametrize(
    "reach",
    [
        "c._set",
        "connection._slot",
        "connections[0]._declared",
        "first._method()",
        "handler._set = 2",
        "self._connection._set",
        "bot_connection._set",
        "self.connection()._set",
        "getattr(connection, '_set', None)",
        "setattr(c, '_slot', 1)",
    ],
)
def test_nothing_outside_its_folder_reaches_into_a_connection(tmp_path, reach):
    text = f"x = 1\n{reach}\n"
    inside = house(tmp_path, connection__connection=CONNECTION, connection__other=text)
    assert inside.returncode == 0, inside.stdout
    (breach,) = breaches(house(tmp_path, callbacks__run=text))
    assert breach.startswith("jupyter_wshandler/callbacks/run.py:2: ")
    assert "is for connection/ only" in breach


def test_what_only_looks_like_a_reach_into_a_connection_is_none(tmp_path):
    text = "c._other\nx._set\nself._set\nc.open\ngetattr(c, 'open')\ngetattr(self, '_set')\n"
    result = house(tmp_path, connection__connection=CONNECTION, callbacks__run=text)
    assert result.returncode == 0, result.stdout


def test_a_seventh_flat_module_is_too_many(tmp_path):
    six = dict.fromkeys("abcdef", "")
    (tmp_path / "jupyter_wshandler").mkdir()
    (tmp_path / "jupyter_wshandler" / "__main__.py").write_text("")
    assert house(tmp_path, folder__a="", folder__b="", **six).returncode == 0
    assert breaches(house(tmp_path, g="")) == [
        f"jupyter_wshandler/{name}.py: lies flat" for name in "abcdefg"
    ]


@pytest.mark.parametrize(
    "back",
    [
        "from ..two.b import y\n",
        "import jupyter_wshandler.two.b\n",
        "from jupyter_wshandler.two import b\n",
        "if TYPE_CHECKING:\n    from ..two.b import y\n",
        "def f():\n    from ..two import b\n",
    ],
    ids=["relative", "whole", "module", "type checking", "in a function"],
)
def test_modules_that_import_each_other_are_a_circle_however_they_do(tmp_path, back):
    result = house(tmp_path, one__a=back, two__b="from ..one.a import x\n")
    (breach,) = breaches(result)
    assert "a circle of 2 modules (jupyter_wshandler.one.a, jupyter_wshandler.two.b)" in breach
    assert "jupyter_wshandler/two/b.py:1 imports jupyter_wshandler.one.a" in breach


def test_a_long_way_around_is_a_circle_and_two_circles_are_told_apart(tmp_path):
    result = house(
        tmp_path,
        a="from .b import x\n",
        b="from .c import x\n",
        c="from .a import x\nfrom .d import x\n",
        d="from .e import x\n",
        e="from .d import x\n",
    )
    first, second = breaches(result)
    names = ", ".join(f"jupyter_wshandler.{name}" for name in "abc")
    assert f"a circle of 3 modules ({names})" in first
    assert "a circle of 2 modules (jupyter_wshandler.d, jupyter_wshandler.e)" in second


def test_a_package_that_loads_its_names_on_use_is_in_no_circle_but_a_folders_face_is(tmp_path):
    result = house(tmp_path, __init__="from .a import x\n", a="from . import __version__\n")
    assert result.returncode == 0, result.stdout
    face = {"f__m": "from . import y\n"}
    (tmp_path / "jupyter_wshandler" / "f").mkdir()
    (tmp_path / "jupyter_wshandler" / "f" / "__init__.py").write_text("from .m import x\n")
    (breach,) = breaches(house(tmp_path, **face))
    assert "a circle of 2 modules (jupyter_wshandler.f, jupyter_wshandler.f.m)" in breach


def test_what_cannot_be_checked_is_said_in_a_sentence(tmp_path):
    result = subprocess.run([sys.executable, HOUSE, tmp_path], capture_output=True, text=True)
    assert result.returncode == 1
    assert "expected the package jupyter_wshandler in" in result.stderr
    result = house(tmp_path, a="def f(:\n")
    assert result.returncode == 1
    assert "a module cannot be read" in result.stderr
    assert "Traceback" not in result.stderr
