"""What is written into a guest's page, and where: first in its head, and never within something."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.server.sandbox import POLICY, inserted, insertion

MARK = "@"


@pytest.mark.parametrize(
    "expected",
    [
        "@",
        "@hello",
        "@<p>hello",
        "<!doctype html>@<title>x</title>",
        "<!DOCTYPE html>\n<html lang=en>\n<head>@<title>x</title></head>",
        "<html><head data-x='>' class=\"a>b\">@<meta charset=utf-8>",
        "<HTML><HEAD/>@",
        "<html>\n@<header>no head</header>",
        "@<html-like>",
        "<!-- <head> --><!doctype html><!-- > --><html><!--\n<html>\n--><head>@",
        "<!--><head>@<script>'-->'</script>",
        "<!-- a --!><head>@-->",
        '<?xml version="1.0"?><!DOCTYPE html><html xmlns="x"><head>@<title/></head></html>',
        "\ufeff<!doctype html><head>@",
        "  \n\t<!doctype html>\n@<script>document.write('<head>')</script>",
        "@<!-- never closed <head>",
        "@<html lang='never closed <head>",
        "<!doctype html><html>@<head lang='never closed >",
        "<!doctype html>@<body><head>",
    ],
)
def test_it_stands_first_in_the_head(expected):
    page = expected.replace(MARK, "")
    assert inserted(page.encode(), b"@").decode() == expected


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_page_in_utf_16_stays_one(mark, encoding):
    page = mark + "<!doctype html><head><title>\u20ac \u0141\u00f3d\u017a".encode(encoding)
    read = inserted(page, b"@").decode("utf-16")
    assert read == "<!doctype html><head>@<title>\u20ac \u0141\u00f3d\u017a"


@given(st.text(alphabet=" <>!-?/\"'ahedtml\n", max_size=60))
def test_nothing_else_of_a_page_changes(page):
    found = inserted(page.encode(), b"@")
    assert found.count(b"@") == 1
    assert found.replace(b"@", b"") == page.encode()


def test_a_long_beginning_does_not_take_long():
    for part in (b" ", b"<!-- ", b"<", b"<html '", b"<!a>", b"<?", b"<!-->", b"<html a='>' "):
        page = (part * 300_000)[: 256 * 1024]
        assert inserted(page, b"@").replace(b"@", b"") == page


def test_the_ticket_and_the_base_cannot_leave_their_attributes():
    found = insertion('a"b<', "./x'\"><script>\u00e9").decode()
    assert found == (
        '<meta name="wshandler-guest" content="a&quot;b&lt;"/>'
        '<base href="./x&#x27;&quot;&gt;&lt;script&gt;&#233;"/>'
    )
    assert insertion("abc") == b'<meta name="wshandler-guest" content="abc"/>'


def test_the_sandbox_has_scripts_and_no_origin():
    assert POLICY.split()[0] == "sandbox"
    assert "allow-scripts" in POLICY
    for undoing in ("same-origin", "top-navigation", "escape", "storage", "modals"):
        assert undoing not in POLICY
