"""The glossary is short, in order, and says each word in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)[1:]


def test_the_glossary_has_at_most_thirty_words_in_their_order():
    words = [word for word, _ in ROWS]
    assert 20 <= len(words) <= 30
    assert words == sorted(set(words))


@pytest.mark.parametrize(("word", "meaning"), ROWS)
def test_a_word_of_the_glossary_has_one_sentence(word, meaning):
    assert re.fullmatch(r"[A-Z][^.!?]*\.", meaning), word
