"""The tutorial's code, as it stands on its page, against a stand-in for a language model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
from support.modelserver import KEY, MODEL, STORY, Model, running_model
from support.notebook import notebook
from support.server import free_port, running_server, wait_for

from jupyter_wshandler.testing import Chat

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = r"<!-- {label} -->\n```\w+\n(.*?)```"


def block(label: str) -> str:
    """Return the code below a comment of the page."""
    (found,) = re.findall(BLOCK.format(label=re.escape(label)), PAGE.read_text(), re.DOTALL)
    return found


MODULE = block("file: modelbot.py")
WITH_STOP = block("file: stoppable.py")
GOOD_MORNING = ["You ", "said: ", "Good ", "morning "]
FAILED = {"error": "The model has not answered. Try again."}


@pytest.fixture
def model():
    with running_model() as running:
        yield running


def environment(model: Model) -> dict[str, str]:
    return {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": MODEL}


@pytest.fixture
def modelbot(model, monkeypatch):
    """Return a function that imports the module's code, as one of a name of its own."""
    for name, value in environment(model).items():
        monkeypatch.setenv(name, value)

    def imported(code: str = MODULE) -> types.ModuleType:
        module = types.ModuleType("modelbot")
        exec(compile(MODULE, "modelbot.py", "exec"), module.__dict__)
        if code is MODULE:
            return module
        monkeypatch.setitem(sys.modules, "modelbot", module)
        other = types.ModuleType("stoppable")
        exec(compile(code, "stoppable.py", "exec"), other.__dict__)
        return other

    return imported


# ---- the module -----------------------------------------------------------------------------


def test_an_answer_comes_in_pieces(modelbot):
    with Chat(modelbot()) as chat:
        chat.send("Good morning")
        assert chat.received == GOOD_MORNING


@pytest.mark.parametrize("question", ["byte by byte", "other newlines"])
def test_events_may_be_cut_anywhere_and_hold_any_character(modelbot, question):
    with Chat(modelbot(), timeout=20) as chat:
        chat.send(question)
        assert chat.received == STORY


def test_the_model_is_shown_the_talk_and_not_more_of_it_than_it_is_to_remember(modelbot, model):
    bot = modelbot()
    bot.REMEMBERED = 3
    with Chat(bot) as chat:
        for text in ("one", "two", "three"):
            chat.send(text)
    shown = [[(m["role"], m["content"]) for m in r["messages"]] for r in model.requests]
    assert shown == [
        [("user", "one")],
        [("user", "one"), ("assistant", "You said: one "), ("user", "two")],
        [("user", "two"), ("assistant", "You said: two "), ("user", "three")],
    ]
    assert all(r["model"] == MODEL and r["stream"] is True for r in model.requests)


@pytest.mark.parametrize("question", ["a wrong key", "another page", "break off", "hang up"])
def test_a_model_that_fails_is_told_in_words_without_the_key_and_the_talk_goes_on(
    modelbot, question, caplog
):
    with Chat(modelbot()) as chat:
        chat.send(question)
        assert json.loads(chat.received[-1]) == FAILED
        assert "The model has failed" in caplog.text
        assert KEY not in caplog.text + "".join(chat.received)
        before = len(chat.received)
        chat.send("and now?")
        assert "".join(chat.received[before:]) == "You said: and now? "


def test_a_model_that_is_not_there_is_told_in_words(modelbot, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with Chat(modelbot(), timeout=20) as chat:
        chat.send("Hello")
        assert chat.json == FAILED
        assert chat.state["talk"] == []


def test_a_silence_of_the_model_ends_the_answer(modelbot):
    bot = modelbot()
    bot.TIMES = bot.httpx.Timeout(10, read=0.2)
    with Chat(bot) as chat:
        chat.send("silence")
        chat.expect("Hm… ")
        chat.expect(FAILED)


def test_bytes_are_answered_with_a_sentence(modelbot, model):
    with Chat(modelbot()) as chat:
        chat.send(b"\x00")
        assert "text only" in chat.json["error"]
    assert model.requests == []


def test_who_leaves_stops_the_model(modelbot, model):
    chat = Chat(modelbot())
    chat.send("for ever", wait=False)
    chat.expect("and ")
    chat.close()
    wait_for(lambda: model.left == 1, what="the model's client has left")


def test_a_variable_that_is_missing_is_named_when_the_module_is_imported(modelbot, monkeypatch):
    monkeypatch.delenv("OPENAI_MODEL")
    with pytest.raises(KeyError, match="OPENAI_MODEL"):
        modelbot()


# ---- stop -----------------------------------------------------------------------------------


def test_a_word_stops_the_answer_and_the_talk_goes_on(modelbot, model):
    with Chat(modelbot(WITH_STOP)) as chat:
        chat.send("for ever")
        chat.expect({"token": "and "})
        chat.send("stop")
        wait_for(lambda: model.left == 1, what="the model's client has left")
        wait_for(lambda: '{"done":true}' in chat.received, what="the answer's end")
        chat.send("and now?")
        wait_for(lambda: chat.received.count('{"done":true}') == 2, what="the second answer")
        end = chat.received[chat.received.index('{"done":true}') + 1 : -1]
        assert "".join(json.loads(m)["token"] for m in end) == "You said: and now? "
    roles = [message["role"] for message in model.requests[1]["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_a_question_stops_the_answer_before_it(modelbot, model):
    with Chat(modelbot(WITH_STOP)) as chat:
        chat.send("for ever")
        chat.expect({"token": "and "})
        chat.send("Something else")
        wait_for(lambda: chat.received.count('{"done":true}') == 2, what="both ends")
        assert model.left == 1
        assert json.loads(chat.received[-2]) == {"token": "else "}


def test_stop_without_an_answer_is_no_question(modelbot, model):
    with Chat(modelbot(WITH_STOP)) as chat:
        chat.send("stop")
        chat.expect_nothing()
    assert model.requests == []


def test_who_leaves_stops_the_task_too(modelbot, model):
    chat = Chat(modelbot(WITH_STOP))
    chat.send("for ever")
    chat.expect({"token": "and "})
    chat.close()
    wait_for(lambda: model.left == 1, what="the model's client has left")
    assert chat.errors == []


# ---- the page, step by step -------------------------------------------------------------------


def test_the_cell_streams_in_a_notebook(model, tmp_path):
    with (
        running_server(folder=tmp_path, env=environment(model)) as server,
        notebook(server) as book,
    ):
        book.run("%load_ext jupyter_wshandler")
        book.run(block("cell"))
        with server.connect_sync("/modelbot") as bot:
            bot.send("Good morning")
            assert [bot.recv(timeout=20) for _ in range(4)] == [
                "You ",
                "said: ",
                "Good ",
                "morning ",
            ]
    assert [r["messages"] for r in model.requests] == [
        [{"role": "user", "content": "Good morning"}]
    ]


def test_the_files_are_checked_served_and_tested_with_the_commands_of_the_page(model, tmp_path):
    for label in ("modelbot.py", "wshandler.yaml", "test_modelbot.py"):
        (tmp_path / label).write_text(block(f"file: {label}"))
    page = PAGE.read_text()
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}

    def run(command: str, *module: str, **variables: str) -> subprocess.CompletedProcess[str]:
        assert f"$ {command}\n" in page
        return subprocess.run(
            [sys.executable, "-m", *module],
            cwd=tmp_path,
            env={**env, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    check = ["jupyter_wshandler", "check", "wshandler.yaml"]
    checked = run("jupyter wshandler check wshandler.yaml", *check, **environment(model))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    without = run("jupyter wshandler check wshandler.yaml", *check)
    assert without.returncode == 1
    assert "OPENAI_BASE_URL" in without.stdout + without.stderr

    tested = run("pytest test_modelbot.py", "pytest", "-q", "test_modelbot.py")
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr

    assert "$ jupyter wshandler serve wshandler.yaml\n" in page
    config = tmp_path / "wshandler.yaml"
    with running_server(config, folder=tmp_path, env=environment(model)) as server:
        with server.connect_sync("/modelbot") as bot:
            bot.send("Good morning")
            assert [bot.recv(timeout=20) for _ in range(4)] == [
                "You ",
                "said: ",
                "Good ",
                "morning ",
            ]
            bot.send("a wrong key")
            assert json.loads(bot.recv(timeout=20)) == FAILED
        assert "The model has failed" in server.log_text()
        assert KEY not in server.log_text()


def test_the_bot_that_stops_at_a_word_leaves_the_test_of_the_page_as_it_is(model, tmp_path):
    for label in ("modelbot.py", "stoppable.py", "wshandler.yaml", "test_modelbot.py"):
        (tmp_path / label).write_text(block(f"file: {label}"))
    config = tmp_path / "wshandler.yaml"
    line = "on_message: {function: modelbot.on_message}"
    assert line in config.read_text()
    other = line.replace("modelbot", "stoppable")
    assert f"`{other}`" in PAGE.read_text()
    config.write_text(config.read_text().replace(line, other))
    for module in (["pytest", "-q"], ["jupyter_wshandler", "check", "wshandler.yaml"]):
        ended = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=tmp_path,
            env={**os.environ, **environment(model)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_stand_in_of_the_page_answers_the_bot_of_the_page(modelbot, monkeypatch, tmp_path):
    port = free_port()
    code = block("file: standin.py")
    assert code.count("8001") == 1
    assert "http://127.0.0.1:8001/v1" in PAGE.read_text()
    (tmp_path / "standin.py").write_text(code.replace("8001", str(port)))
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    with subprocess.Popen(
        [sys.executable, "standin.py"], cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_for(lambda: _listens(port), what="the stand-in")
            with Chat(modelbot(), timeout=20) as chat:
                chat.send("Good morning")
                assert chat.received == GOOD_MORNING
                assert [m["content"] for m in chat.state["talk"]] == [
                    "Good morning",
                    "You said: Good morning ",
                ]
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_no_code_of_the_page_holds_a_key():
    code = "".join(re.findall(r"```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL))
    assert not re.search(r"\bsk-\w", code)
    assert "getpass.getpass(" in code
