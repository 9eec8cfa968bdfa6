"""The curl commands of a page, run, with what a server answers; what differs each time is fixed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1f"
WIDTH = 96

TIMES = {"at", "opened", "since", "created", "expires"}
"""What is a time, in an answer."""

TIME = 1796083200.0

PEOPLE = ("ada", "bob")
"""Whose ids are their names."""


def commands_of(page: str) -> list[str]:
    """Return the commands of a page's blocks, in their order."""
    found = []
    for block in BLOCK.findall(page):
        found += [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    return found


def answers_to(commands: list[str], environment: dict[str, str], **instead: str) -> list[str]:
    """Run commands in one shell, and return what each has printed.

    Args:
        commands: What is typed.
        environment: More variables of the shell.
        instead: What a variable is set to that the page sets: by its name.
    """
    lines = ["shopt -s expand_aliases"]
    for command in commands:
        name = re.match(r"(\w+)=", command)
        if name and name[1] in instead:
            command = f"{name[1]}={instead[name[1]]}"
        lines += [command, f"printf '{MARK}'"]
    done = subprocess.run(
        ["bash"],
        input="\n".join(lines) + "\n",
        env={**os.environ, "no_proxy": "*", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split(MARK)
    assert len(answers) == len(commands) + 1, done.stderr
    return answers[:-1]


def with_answers(page: str, answers: list[str], secrets: dict[str, str]) -> str:
    """Return a page with what was answered behind each command, in place of what stood there.

    Args:
        page: The page.
        answers: One for each command.
        secrets: What must not stand there, and what stands there instead.
    """
    left = iter(answers)

    def block(match: re.Match[str]) -> str:
        lines = []
        for line in match[1].splitlines():
            if line.startswith("$ "):
                lines.append(line)
                answer = shown(next(left), secrets)
                lines += [answer] if answer else []
        return "```console\n" + "\n".join(lines) + "\n```"

    return BLOCK.sub(block, page)


def shown(answer: str, secrets: dict[str, str]) -> str:
    """Return an answer as the page has it: laid out, and the same each time."""
    if not answer.startswith("{"):
        return answer
    text = laid_out(fixed(json.loads(answer)))
    for secret, instead in secrets.items():
        text = text.replace(secret, instead)
    return text


def fixed(value: Any, key: str = "") -> Any:
    """Return a part of an answer without what differs each time."""
    if isinstance(value, dict):
        return {name: fixed(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [fixed(one, key) for one in value]
    if key in TIMES and isinstance(value, float | int):
        return TIME + 7200 if key == "expires" else TIME
    if key == "next" and isinstance(value, float):
        return TIME
    if key in ("id", "connection") and isinstance(value, str) and value not in PEOPLE:
        return "8d1f0c62a5b94e37"[: len(value)]
    if key == "epoch":
        return "5c1e"
    if key == "traceback" and isinstance(value, str):
        # Not every Python marks where in a line it was.
        return re.sub(r"\n[ ~^]+(?=\n)", "", value)
    if isinstance(value, str):
        return re.sub(r"share_token=[\w-]+", "share_token=...", value)
    return value


def laid_out(value: Any, indent: int = 0) -> str:
    """Return JSON with what fits into a line in one line."""
    flat = json.dumps(value)
    if indent + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(k)}: {laid_out(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    inner = [pad + laid_out(one, indent + 2) for one in value]
    return "[\n" + ",\n".join(inner) + "\n" + " " * indent + "]"
