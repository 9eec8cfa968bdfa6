"""Origins: the table of COMPATIBILITY row by row, and an independent oracle."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import at_least

from jupyter_wshandler.config.origins import OriginRules, normalise_host, parse_entry

SEED = OriginRules(["gramener.com", "localhost", "127.0.0.1"])


@pytest.mark.parametrize("origin", ["http://gramener.com", "https://gramener.com"])
def test_row_http_and_https_of_a_listed_host_pass(origin: str) -> None:
    assert SEED.matches(origin)


def test_row_a_subdomain_passes_only_when_asked_for() -> None:
    assert not SEED.matches("https://www.gramener.com")
    wild = OriginRules(["*.gramener.com"])
    assert wild.matches("https://www.gramener.com")
    assert wild.matches("https://a.b.gramener.com")
    assert not wild.matches("https://gramener.com")
    assert not wild.matches("https://evilgramener.com")


@pytest.mark.parametrize(
    "origin", ["http://evilgramener.com", "http://evillocalhost", "http://8.127.0.0.1"]
)
def test_row_a_host_that_merely_ends_alike_is_refused(origin: str) -> None:
    assert not SEED.matches(origin)


def test_row_gramener_com_evil_com_is_refused() -> None:
    assert not SEED.matches("http://gramener.com.evil.com")


@pytest.mark.parametrize("origin", ["http://gramener.com:8443", "http://localhost:9988"])
def test_row_no_port_in_the_config_means_any_port(origin: str) -> None:
    assert SEED.matches(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "ftp://gramener.com",
        "https://user@gramener.com",
        "https://user:pw@gramener.com",
        "ws://gramener.com",
        "chrome-extension://gramener.com",
    ],
)
def test_row_other_schemes_and_userinfo_are_refused(origin: str) -> None:
    assert not SEED.matches(origin)
    assert OriginRules(["*"]).matches(origin) is origin.startswith("chrome-extension")


@pytest.mark.parametrize(
    "origin", ["http://GRAMENER.COM", "http://gramener.com.", "HTTPS://Gramener.Com.:8443"]
)
def test_row_case_and_final_dot_are_normalised(origin: str) -> None:
    assert SEED.matches(origin)


def test_row_idn_is_normalised() -> None:
    rules = OriginRules(["m\u00fcnchen.de"])
    assert rules.matches("https://xn--mnchen-3ya.de")
    assert rules.matches("https://M\u00dcNCHEN.de")
    assert not rules.matches("https://munchen.de")
    assert OriginRules(["xn--mnchen-3ya.de"]).matches("https://m\u00fcnchen.de")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "file://",
        "gramener.com",
        "//gramener.com",
        "http://",
        "http:gramener.com",
        "http://gramener.com/",
        "http://gramener.com/x",
        "http://gramener.com?x",
        "http://gramener.com#x",
        "http://gramener.com:",
        "http://gramener.com:0",
        "http://gramener.com:65536",
        "http://gramener.com:8x",
        "http://gramener.com:+80",
        "http://gramener.com http://x.y",
        "http://gramener.com\n",
        " http://gramener.com",
        "http://gramener..com",
        "http://.gramener.com",
        "http://gramener.com..",
        "http://[::1",
        "http://::1",
        "http://[gramener.com]",
        "http://gramener%2ecom",
        "http://gramener\\com",
        "http://" + "a" * 300,
        "http://*.gramener.com",
        "http://*",
    ],
)
def test_row_null_file_and_bare_text_meet_no_entry_but_null_the_star(origin: str) -> None:
    assert not SEED.matches(origin)
    assert OriginRules(["*"]).matches(origin) is (origin == "null")


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("vscode-webview://*", "vscode-webview://1g2h3j4k5l6m7n8p9q0r"),
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop",) * 2,
        ("capacitor://localhost",) * 2,
        ("moz-extension://*", "moz-extension://0f3b7a3c-1111-2222-3333-444455556666"),
        ("tauri://localhost:1420",) * 2,
    ],
)
def test_a_page_of_an_app_is_admitted_by_an_entry_with_its_scheme_and_by_no_other(
    entry: str, origin: str
) -> None:
    host = origin.partition("://")[2]
    assert OriginRules([entry]).matches(origin)
    assert OriginRules([entry]).matches(origin.upper())
    assert OriginRules(["*"]).matches(origin)
    for other in (host, f"https://{host}", f"other-scheme://{host}", "https://*", "other://*"):
        assert not OriginRules([other]).matches(origin)
    assert not OriginRules([entry]).matches(f"https://{host}")
    assert not OriginRules([entry]).matches(f"{origin}/x")


def test_a_scheme_with_a_star_admits_every_page_of_that_scheme() -> None:
    assert OriginRules(["https://*"]).matches("https://any.example:8443")
    assert not OriginRules(["https://*"]).matches("http://any.example")


def test_row_an_empty_entry_is_a_config_error() -> None:
    for entry in ("", " "):
        with pytest.raises(ValueError, match="found an empty text"):
            OriginRules([entry])


def test_row_an_entry_with_a_scheme_compares_the_scheme() -> None:
    rules = OriginRules(["https://gramener.com"])
    assert rules.matches("https://gramener.com")
    assert rules.matches("https://gramener.com:8443")
    assert not rules.matches("http://gramener.com")
    assert OriginRules(["wss://gramener.com"]).matches("https://gramener.com")
    assert not OriginRules(["ws://gramener.com"]).matches("https://gramener.com")


def test_row_an_entry_with_a_port_matches_that_port_only() -> None:
    rules = OriginRules(["localhost:9988"])
    assert rules.matches("http://localhost:9988")
    assert not rules.matches("http://localhost")
    assert not rules.matches("http://localhost:9989")


def test_a_default_port_that_browsers_leave_out_is_still_that_port() -> None:
    assert OriginRules(["gramener.com:443"]).matches("https://gramener.com")
    assert not OriginRules(["gramener.com:443"]).matches("http://gramener.com")


def test_an_empty_list_of_entries_matches_nothing() -> None:
    assert not OriginRules([]).matches("http://gramener.com")


@pytest.mark.parametrize("entry", ["[::1]", "::1", "[0:0:0:0:0:0:0:1]", "http://[::1]:8888"])
def test_ipv6_addresses_are_compared_by_value(entry: str) -> None:
    assert OriginRules([entry]).matches("http://[::1]:8888")
    assert not OriginRules([entry]).matches("http://[::2]:8888")


def test_the_star_matches_every_well_formed_origin() -> None:
    star = OriginRules(["*"])
    for origin in ("http://a", "https://b.c:1", "http://[::1]", "http://1.2.3.4"):
        assert star.matches(origin)


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("null", "null names no page"),
        ("https://gramener.com/", "has no path"),
        ("gramener.com/chat", "has no path"),
        ("user@gramener.com", "no user name"),
        ("a.com, b.com", "as a list"),
        ("foo*.com", "stands alone"),
        ("*.*.com", "stands alone"),
        ("**", "stands alone"),
        ("ftp://a.com", "expected http, https or the scheme of an app"),
        ("data://x", "expected http, https or the scheme of an app"),
        ("a.com:0", "from 1 to 65535"),
        ("a.com:99999", "from 1 to 65535"),
        ("*.127.0.0.1", "no subdomains"),
        ("*.[::1]", "no subdomains"),
        ("stra\u00dfe.de", "xn--"),
        ("*.", "expected a host"),
        (".gramener.com", "expected a host"),
        ("-", "expected a host"),
        ("a" * 64 + ".com", "expected a host"),
    ],
)
def test_an_entry_that_matches_nothing_is_refused_with_a_hint(entry: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_entry(entry)
    assert hint in str(caught.value)


def test_the_rules_of_a_route_are_made_once() -> None:
    assert OriginRules.of(("a.com",)) is OriginRules.of(("a.com",))


def oracle(entry: str, origin: str) -> bool:
    """Decide one entry in the plainest way, for hosts of ASCII letters and digits."""
    if any(character in origin for character in "@/?# \\" if character not in "/") or (
        origin.count("/") != 2
    ):
        return False
    parts = urlsplit(origin.lower())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    host = parts.hostname.removesuffix(".")
    if "" in host.split(".") or origin.endswith(":"):
        return False
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if entry == "*":
        return True
    wanted = urlsplit(entry if "://" in entry else f"any://{entry}")
    if wanted.scheme != "any" and wanted.scheme != parts.scheme:
        return False
    if wanted.port is not None and wanted.port != port:
        return False
    name = wanted.hostname or ""
    return (
        host[-len(name[1:]) :] == name[1:] and host != name[2:]
        if name[0] == "*"
        else (host == name)
    )


HOSTS = st.lists(
    st.sampled_from(["a", "b", "evil", "com", "a-b", "1"]), min_size=1, max_size=3
).map(".".join)
PORTS = st.sampled_from(["", ":80", ":443", ":8443"])
ENTRIES = st.one_of(
    st.just("*"),
    st.builds(
        "{}{}{}.com{}".format,
        st.sampled_from(["", "http://", "https://"]),
        st.sampled_from(["", "*."]),
        HOSTS,
        PORTS,
    ),
)
ORIGINS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "HTTP://", "ftp://", "", "null"]),
    st.sampled_from(["", "", "", "a.", "x@", "b"]),
    HOSTS.flatmap(lambda host: st.sampled_from([host, host + ".com", host.upper() + ".COM"])),
    st.sampled_from(["", "", "", ".", "..", "/", "/p"]),
    PORTS,
)


@at_least(500)
@given(entry=ENTRIES, origin=ORIGINS)
@example(entry="*.a.com", origin="http://evila.com")
@example(entry="a.com:443", origin="https://A.COM.")
def test_the_rules_agree_with_an_independent_oracle(entry: str, origin: str) -> None:
    assert OriginRules([entry]).matches(origin) == oracle(entry, origin)


@at_least(300)
@given(st.text(max_size=30) | st.text(max_size=20).map("http://{}".format))
def test_no_origin_makes_the_rules_raise_and_normalising_twice_changes_nothing(text: str) -> None:
    SEED.matches(text)
    OriginRules(["*"]).matches(text)
    host = normalise_host(text)
    assert host is None or normalise_host(host) == host


@at_least(300)
@given(st.text(max_size=30))
def test_an_entry_is_either_refused_with_a_sentence_or_usable(entry: str) -> None:
    refused, rules = "", None
    try:
        rules = OriginRules([entry])
    except ValueError as error:
        refused = f"{type(error).__name__}: {error}"
    if rules is None:
        assert refused.startswith("ValueError: ")
        assert len(refused) > 30
    else:
        assert rules.matches("null") is (entry == "*")


@pytest.mark.parametrize(
    ("entries", "origin", "named", "admitted"),
    [
        (("*",), "https://example.org", False, True),
        (("*",), "null", False, True),
        (("*", "example.org"), "https://example.org", True, True),
        (("*", "example.org"), "https://other.example", False, True),
        (("*.example.org",), "http://a.example.org", True, True),
        (("localhost:5173",), "http://localhost:5173", True, True),
        (("localhost:5173",), "http://localhost:5174", False, False),
        (("localhost:5173",), "null", False, False),
        (("vscode-webview://*",), "vscode-webview://abc", True, True),
    ],
)
def test_only_an_entry_that_says_which_pages_names_an_origin(
    entries: tuple[str, ...], origin: str, named: bool, admitted: bool
) -> None:
    rules = OriginRules(entries)
    assert (rules.names(origin), rules.matches(origin)) == (named, admitted)
