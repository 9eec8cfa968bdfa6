"""The forms in which a function may be named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import at_least

from jupyter_wshandler.config.functions import VARIABLES, parse_function
from jupyter_wshandler.config.model import FunctionSpec, Variable
from jupyter_wshandler.config.nodes import Report, from_python

HANDLER, MESSAGE = Variable("handler"), Variable("message")


def parse(value: Any, event: str = "on_message") -> tuple[FunctionSpec | None, list[str]]:
    tree = from_python(value, "t")
    assert tree.root is not None
    report = Report()
    spec = parse_function(tree.root, event, report)
    return spec, [problem.message for problem in report.problems]


def good(value: Any, event: str = "on_message") -> FunctionSpec:
    spec, problems = parse(value, event)
    assert problems == []
    assert spec is not None
    return spec


def bad(value: Any, event: str = "on_message") -> str:
    spec, problems = parse(value, event)
    assert spec is None or problems
    assert len(problems) == 1, problems
    return problems[0]


def test_row_function_mapping_is_called_with_what_the_event_gives() -> None:
    spec = good({"function": "mod.fn"})
    assert (spec.function, spec.args, spec.kwargs, spec.run) == ("mod.fn", None, {}, None)


def test_row_plain_string_in_place_of_a_mapping_is_accepted() -> None:
    spec = good(" pkg.mod.fn ")
    assert (spec.function, spec.args) == ("pkg.mod.fn", None)


def test_row_args_list_with_variables_and_literals() -> None:
    spec = good({"function": "m.f", "args": ["=message", "lit", 3, None, [1], {"a": "=handler"}]})
    assert spec.args == (MESSAGE, "lit", 3, None, [1], {"a": "=handler"})


def test_row_kwargs_with_variables_and_literals() -> None:
    spec = good({"function": "m.f", "kwargs": {"text": "=message", "n": 1}, "run": "loop"})
    assert (spec.args, spec.kwargs, spec.run) == (None, {"text": MESSAGE, "n": 1}, "loop")


@pytest.mark.parametrize(("scalar", "args"), [("=handler", (HANDLER,)), ("x", ("x",)), (5, (5,))])
def test_row_args_scalar_becomes_a_list_of_one(scalar: Any, args: tuple[Any, ...]) -> None:
    assert good({"function": "m.f", "args": scalar}).args == args


def test_no_args_at_all_can_be_said() -> None:
    assert good({"function": "m.f", "args": []}).args == ()


def test_row_inline_call_of_a_dotted_name_is_parsed_and_not_evaluated() -> None:
    spec = good("bots.chat.reply(handler, message, 'en', [1, -2], sep='-', opts={'a': None})")
    assert spec.function == "bots.chat.reply"
    assert spec.args == (HANDLER, MESSAGE, "en", [1, -2])
    assert spec.kwargs == {"sep": "-", "opts": {"a": None}}
    assert good("bots.ping()").args == ()
    assert good({"function": "a.b(message)", "run": "loop"}).run == "loop"


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2",
        "a.b + 1",
        "a.b if x else c.d",
        "lambda: 1",
        "a.b(handler.session)",
        "a.b(f(message))",
        "a.b(f'{message}')",
        "a.b([message])",
        "a.b(*handler)",
        "a.b(**handler)",
        "a.b(x=1, x=2)",
        "a.b(x)(y)",
        "a.b()()",
        "a[0].b()",
        "print(handler)",
        "'x'.join()",
        "a.b(",
        "a.b(handler\0)",
        "a..b",
        "a.class",
        ".a.b",
        "a.b.",
        "a b",
        "(yield)",
        "a.b(" + "(" * 300 + ")" * 300 + ")",
        "a.b('" + "x" * 3000 + "')",
        "a.b(" + "-" * 1500 + "1)",
        "import os; os.x()",
        "__import__('os').system('x')",
        "a.b(__import__('os'))",
        "",
    ],
)
def test_row_any_other_expression_is_an_error_that_says_so(text: str) -> None:
    assert "expected a dotted name, or a call of one with literals" in bad(text)


def test_a_bare_name_is_told_to_name_its_module() -> None:
    assert "write module.reply" in bad("reply")


def test_row_list_pipeline_is_an_error_that_says_so() -> None:
    assert "pipelines are not supported" in bad([{"function": "a.b"}])
    assert "pipelines are not supported" in bad({"function": ["a.b"]})


@pytest.mark.parametrize("value", [None, True, 5, 1.5, {}, {"args": [1]}])
def test_what_is_no_function_is_an_error(value: Any) -> None:
    assert "expected" in bad(value)


def test_a_call_and_args_together_are_an_error() -> None:
    assert "already says its arguments" in bad({"function": "a.b()", "args": [1]})
    assert "already says its arguments" in bad({"function": "a.b()", "kwargs": {"x": 1}})


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"function": "a.b", "args": {"x": 1}}, "expected a list of arguments"),
        ({"function": "a.b", "args": None}, "expected a list of arguments"),
        ({"function": "a.b", "kwargs": [1]}, "expected a mapping of argument names"),
        ({"function": "a.b", "kwargs": {"no name": 1}}, "expected the name of an argument"),
        ({"function": "a.b", "kwargs": {"class": 1}}, "expected the name of an argument"),
        ({"function": "a.b", "run": "process"}, "expected loop or thread"),
        ({"function": "a.b", "run": True}, "expected loop or thread"),
        ({"function": "a.b", "arg": 1}, "did you mean args?"),
        ({"funtion": "a.b"}, "did you mean function?"),
        ({"function": 5}, "found the number 5"),
    ],
)
def test_a_wrong_part_of_a_function_is_named(entry: Any, what: str) -> None:
    assert what in bad(entry)


@pytest.mark.parametrize("event", sorted(VARIABLES))
def test_variables_of_another_event_are_errors_that_name_the_valid_ones(event: str) -> None:
    names = " and ".join(VARIABLES[event])
    for value in ("a.b(nothing)", {"function": "a.b", "args": "=nothing"}):
        assert f"the names there are {names}" in bad(value, event)
    arguments = ", ".join(VARIABLES[event])
    assert good(f"a.b({arguments})", event).args == tuple(map(Variable, VARIABLES[event]))


def test_all_mistakes_of_one_function_are_reported() -> None:
    _, problems = parse({"function": "1", "args": "=x", "run": 1, "zzz": 1})
    assert len(problems) == 4


@at_least(300)
@given(st.text(alphabet="ab.(),'\"=*[]{}x1-+ \\\n#:", max_size=40))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    spec, problems = parse(text)
    assert (spec is None) == bool(problems)
