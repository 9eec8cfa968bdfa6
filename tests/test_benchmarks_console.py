"""The benchmark of the console works: each question is asked. Its numbers are not tested."""

from __future__ import annotations

import pytest
from support.benchmarks import NEEDS, first_cells, printed

from benchmarks.console import ALONE, PAUSES, QUESTIONS

pytestmark = NEEDS


@pytest.mark.timeout(180)
def test_each_question_of_the_page_is_asked_at_a_full_server_and_an_echo_beside_it():
    text = printed("console", "--quick")
    rows = first_cells(text)
    for question in (*QUESTIONS, "connections, second page"):
        assert f"`{question}`" in rows, text
    assert rows[-3:] == [ALONE, *PAUSES]
