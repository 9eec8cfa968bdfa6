"""`jupyter wshandler check --backplane`: what is wrong with a store is said in words."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.need import need
from support.server import free_port, wait_for
from support.stores import KINDS, RIGHTS, Store, running_store
from support.strangers import FRIENDLY, NO_LENGTH, stranger

from jupyter_wshandler.backplane.base import Publication
from jupyter_wshandler.backplane.redis.facts import read_facts
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.cli import main
from jupyter_wshandler.cli.backplane import check_backplane
from jupyter_wshandler.cli.sessionstore import check_session_store
from jupyter_wshandler.errors import BackplaneError


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with running_store(request.param) as store:
        for name, rights in {
            "enough": RIGHTS,
            "deaf": RIGHTS.replace("&wshandler:*", "resetchannels"),
            "scriptless": RIGHTS.replace("+script|load", ""),
            "keyless": RIGHTS.replace("~wshandler:*", "~other:*"),
            "listless": RIGHTS.replace("+rpush", ""),
            "orderless": RIGHTS.replace("+zadd", ""),
            "endless": RIGHTS.replace("+pexpire", ""),
        }.items():
            words = ("ACL", "SETUSER", name, "on", ">pass-word", *rights.split())
            assert store.say(*words).startswith(b"+OK")
        yield store


def checked(url: str) -> tuple[int, str]:
    stream = io.StringIO()
    code = check_backplane(url, stream=stream)
    return code, stream.getvalue()


def names(store: Store) -> set[str]:
    """Return the names of all keys that a check may have left."""
    found = store.say("KEYS", "wshandler:*").decode().split("\r\n")
    return {name for name in found if name.startswith("wshandler")}


def as_user(store: Store, name: str, word: str = "pass-word") -> str:
    return store.url.replace("://", f"://{name}:{word}@")


def test_the_docs_name_the_rights_that_are_tried_here():
    assert RIGHTS in (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


def test_a_store_that_will_do_is_named_and_measured(store):
    code, text = checked(store.url)
    assert code == 0, text
    assert f"127.0.0.1:{store.port}" in text
    assert store.kind.title() in text
    assert "a message comes back after" in text


def test_the_rights_that_the_docs_name_are_enough_and_none_is_missing(store):
    before = names(store)
    code, text = checked(as_user(store, "enough"))
    assert code == 0, text
    assert names(store) <= before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("deaf", "SUBSCRIBE"),
        ("scriptless", "SCRIPT LOAD"),
        ("keyless", "publish to a room"),
        ("listless", "publish to a room"),
        ("endless", "publish to a room"),
        ("orderless", "keep who is in a room"),
        ("nobody", "log in"),
    ],
)
def test_a_right_that_is_missing_is_named_and_the_password_is_not(store, name, words):
    before = names(store)
    code, text = checked(as_user(store, name))
    assert code == 1
    assert "problem" in text
    assert words in text
    assert "pass-word" not in text
    assert names(store) <= before


def test_a_wrong_password_a_closed_port_and_a_wrong_url_are_told_without_what_is_secret(store):
    for url in (
        as_user(store, "enough", "wrong-word"),
        f"redis://u:wrong-word@127.0.0.1:{free_port()}/0",
        "http://u:wrong-word@127.0.0.1/",
        "redis://u:wrong-word@127.0.0.1:port/0",
        "redis://u:wrong-word@127.0.0.1/0?protocol=3",
        "redis://u:wrong/word@127.0.0.1/0",
        "redis://u:wrong#word@127.0.0.1/0",
        "redis://u:wrong?word@127.0.0.1/0",
        "redis://u:wrong@word@127.0.0.1/0",
        "unix://u:wrong-word@",
        "wrong-word",
    ):
        code, text = checked(url)
        assert code == 1, url
        assert "wrong" not in text
        assert "word" not in text.replace("password", "")
        assert "Traceback" not in text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_without_a_command_repeats_neither_a_password_nor_a_message(kind, caplog):
    """Redis says what stood behind a command that it does not know, as where it was renamed."""
    with running_store(kind, "rename-command AUTH ''", "rename-command PUBLISH ''") as store:
        for login in (":pass-word@", "bots:pass-word@"):
            url = store.url.replace("://", f"://{login}")
            for check in (checked, checked_store):
                code, text = await asyncio.to_thread(check, url)
                assert code == 1
                assert "unknown command 'AUTH'" in text
                assert "pass-word" not in text
        node = RedisBackplane(store.url, patience=60)
        with pytest.raises(BackplaneError, match=r"unknown command 'PUBLISH'$"):
            await node.publish("room", Publication("for one"))
        await node.close()
        assert "refuses" in caplog.text
        assert "for one" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "words"), [(NO_LENGTH, "found something else"), (FRIENDLY, "found no version")]
)
def test_what_is_no_store_is_told(answer, words):
    with stranger(answer) as port:
        code, text = checked(f"redis://127.0.0.1:{port}/0")
    assert code == 1
    assert re.search(f"problem: .*expected Redis .*{words}", text), text


def test_a_store_that_forgets_rooms_when_it_is_full_is_advised_against(store):
    store.say("CONFIG", "SET", "maxmemory", "100mb")
    store.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        code, text = checked(store.url)
        assert code == 0
        assert "allkeys-lru" in text
        assert "noeviction" in text
    finally:
        store.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.say("CONFIG", "SET", "maxmemory", "0")


def test_a_replica_is_refused_as_what_it_publishes_reaches_nobody_else(store):
    with running_store(store.kind, f"replicaof 127.0.0.1 {store.port}") as replica:
        code, text = checked(replica.url)
        assert code == 1
        assert "primary" in text


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("redis_version:6.2.14\r\nrole:master\r\nrun_id:ab", "Redis 7.0"),
        ("", "no version"),
        ("redis_version:7.2.4\r\nvalkey_version:9.1.2\r\nrole:slave\r\nrun_id:ab", "primary"),
        ("redis_version:7.2.4\r\nrole:master\r\nrun_id:ab\r\ncluster_enabled:1", "cluster"),
        ("redis_version:7.2.4\r\nrole:master\r\nrun_id:a'b", "run_id"),
    ],
)
def test_a_store_that_will_not_do_is_refused_with_the_reason(info, words):
    with pytest.raises(BackplaneError, match=words):
        read_facts(info.encode()).check()


def test_a_number_that_a_store_says_in_words_is_none():
    """Others that speak the protocol say what they like."""
    info = "redis_version:7.2.4\r\nrole:master\r\nrun_id:ab\r\nmaxmemory:unlimited"
    facts = read_facts(info.encode())
    facts.check()
    assert facts.memory_limit == 0


def test_the_command_takes_the_url_from_the_environment_where_nobody_sees_it(store):
    command = [sys.executable, "-m", "jupyter_wshandler", "check", "--backplane", "-"]
    environment = {**os.environ, "WSHANDLER_BACKPLANE": as_user(store, "enough")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store.kind.title() in done.stdout
    nothing = subprocess.run(command[:-2], capture_output=True, text=True, timeout=60)
    assert nothing.returncode == 2
    assert "--backplane" in nothing.stderr


def test_tls_checks_the_certificate_of_the_store(tmp_path):
    """What another one shows is refused, before a password goes there."""
    for name in ("store", "other"):
        command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    lines = [f"tls-port {port}", f"tls-cert-file {tmp_path}/store.pem", "tls-auth-clients no"]
    with running_store("redis", *lines, f"tls-key-file {tmp_path}/store.key") as store:
        wait_for(lambda: store.say("PING") == b"+PONG\r\n")
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}"
        code, text = checked(f"{url}/store.pem")
        assert code == 0, text
        for wrong in (f"{url}/other.pem", url.partition("?")[0]):
            code, text = checked(wrong)
            assert code == 1, wrong
            assert str(tmp_path) not in text


# ---- `check --session-store` ---------------------------------------------------------------------


def checked_store(url: str, backplane: str = "") -> tuple[int, str]:
    stream = io.StringIO()
    code = check_session_store(url, backplane, stream=stream)
    return code, stream.getvalue()


def test_a_store_of_sessions_is_tried_out_and_nothing_is_left_in_it(store):
    before = names(store)
    code, text = checked_store("backplane", as_user(store, "enough"))
    assert code == 0, text
    assert f"session store redis://127.0.0.1:{store.port}/0: {store.kind.title()}" in text
    assert "a session is saved and read" in text
    assert names(store) <= before


@pytest.mark.parametrize("user", ["orderless", "endless"])
def test_a_check_that_is_refused_in_the_middle_leaves_nothing_in_the_store(store, user):
    before = names(store)
    code, text = checked_store(as_user(store, user))
    assert code == 1
    assert re.search("problem: the store .* refuses: .*(permission|run this command)", text), text
    assert names(store) <= before


@pytest.mark.parametrize(
    ("user", "word", "problem"),
    [
        ("enough", "wrong-word", "cannot be used: .*(WRONGPASS|password)"),
        ("scriptless", "pass-word", "no permissions"),
        ("keyless", "pass-word", "no permissions"),
    ],
)
def test_what_is_wrong_with_a_store_of_sessions_is_told_without_the_password(
    store, user, word, problem
):
    code, text = checked_store(as_user(store, user, word))
    assert code == 1
    assert re.search(f"\n  problem: the store .*{problem}", text, re.IGNORECASE), text
    assert word not in text


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("backplane", 1, 'session store: expected a backplane for "backplane", found none'),
        ("mysql://u:hunter2@h/", 1, "session store: expected memory://, sqlite:///path"),
        ("redis://:hunter2@h/0?x=1", 1, "session store: unknown option 'x'"),
        ("memory://", 0, "session store: this server's own memory; no other machine has it"),
        ("sqlite:////a/b.db", 0, "session store: the file /a/b.db; no other machine has it"),
    ],
)
def test_a_setting_of_the_session_store_is_judged_without_a_server(url, code, told):
    found, text = checked_store(url)
    assert (found, text.startswith(told)) == (code, True), text
    assert "hunter2" not in text


def test_the_command_reads_the_url_from_its_standard_input(monkeypatch, capsys):
    monkeypatch.delenv("WSHANDLER_BACKPLANE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("memory://\n"))
    assert main(["check", "--session-store", "-"]) == 0
    assert "this server's own memory" in capsys.readouterr().out
    assert main(["check", "--session-store", "backplane"]) == 1
