"""Cookies as they are written without Tornado's detours: the same, letter for letter."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders
from tornado.web import (
    Application,
    RequestHandler,
    create_signed_value,
    decode_signed_value,
)

from jupyter_wshandler.server.access.setcookie import set_cookie_line, signed_value
from jupyter_wshandler.server.requests import without_client

SECRET = "a secret of tests"


def by_tornado(name, value, **options):
    request = without_client("/", HTTPHeaders({"Host": "localhost"}))
    handler = RequestHandler(Application(), request)
    handler.set_cookie(name, value, **options)
    [cookie] = handler._new_cookie.values()
    return cookie.OutputString(None)


plain = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
options = st.fixed_dictionaries(
    {},
    optional={
        "path": st.sampled_from(["/", "/user/a/", "", "/caf%C3%A9", "/a;b", "/a b"]),
        "httponly": st.booleans(),
        "secure": st.booleans(),
        "samesite": st.sampled_from(["Lax", "None", None]),
        "expires_days": st.sampled_from([None, 1, 30, 31]),
        "domain": st.sampled_from(["example.org"]),
        "max_age": st.sampled_from([5]),
    },
)


@given(st.text("abcdef-_.:;= \tPath", min_size=1, max_size=12), plain, options)
def test_what_is_written_is_what_tornado_writes(name, value, options):
    for _ in range(5):
        second = int(time.time())
        line = set_cookie_line(name, value, **options)
        expected = None if line is None else by_tornado(name, value, **options)
        if int(time.time()) == second:
            break
    assert line == expected


@given(st.text("0123456789abcdef|:=+/", min_size=1))
def test_signed_values_are_written_without_tornado(value):
    line = set_cookie_line("wshandler-session-8888", value.encode(), path="/", expires_days=31)
    assert line is not None


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("path", "x", {}),
        ("Max-Age", "x", {}),
        ("a", "with space", {}),
        ("a", "with;semicolon", {}),
        ("a", 'with"quote', {}),
        ("a", "line\r\nSet-Cookie: b=c", {}),
        ("a\r\nb", "x", {}),
        ("a", "x", {"path": "/;secure"}),
        ("a", "x", {"path": "/\r\nX: y"}),
        ("a", "x", {"samesite": "Lax;b"}),
        ("a", "x", {"domain": "example.org"}),
        ("a", "x", {"expires": 5}),
        ("a", "", {}),
        ("a", "ü", {}),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_tornado(name, value, options):
    assert set_cookie_line(name, value, **options) is None


@given(st.text("abc-123", min_size=1), st.one_of(st.text(), st.binary()))
def test_a_signature_is_tornados(name, value):
    for secret in (SECRET, SECRET.encode()):
        for _ in range(5):
            second = int(time.time())
            found = signed_value(secret, name, value)
            expected = create_signed_value(secret, name, value)
            if int(time.time()) == second:
                break
        assert found == expected
        whole = value.encode() if isinstance(value, str) else value
        assert decode_signed_value(secret, name, found) == whole
        assert decode_signed_value(secret, name + "x", found) is None
        assert decode_signed_value("another", name, found) is None


@pytest.mark.parametrize("secret", [None, "", b"", {1: "a", 2: "b"}, 5])
def test_where_there_is_not_one_secret_tornado_says_what_counts(secret):
    assert signed_value(secret, "a", "b") is None
