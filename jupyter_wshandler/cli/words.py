"""Sentences of the command line: why it ends, and what to type instead."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..client.addresses import Server
from ..client.running import runtime_dir
from .transcript import harmless


def complain(sentence: str, code: int = 1, *, command: str = "chat") -> int:
    """Write why the command ends, and return its exit code."""
    print(f"jupyter wshandler {command}: {harmless(sentence)}", file=sys.stderr)
    return code


def of_the_command_line(text: str) -> str:
    """Return a sentence of the client's with the words of the command line."""
    for function, option in (
        (
            "pass ssl=ssl.create_default_context(cafile='the-certificate.pem')",
            "set SSL_CERT_FILE=the-certificate.pem",
        ),
        ("pass token=os.environ['JUPYTER_TOKEN']", 'pass --token "$JUPYTER_TOKEN"'),
        ("as server=", "as --url"),
        ("pass one of its tokens as token=...", "pass one of its tokens as --token-file FILE"),
        ("token=...", "--token TOKEN"),
        ("in place of the path", "in place of PATH"),
    ):
        text = text.replace(function, option)
    return text


def no_server(target: str, alive: list[Server], *, command: str = "chat") -> str:
    """Return what to do where no server was found, or several.

    Args:
        target: The bot's path, or the options in its place.
        alive: The servers that run here.
        command: The command that looks for one.
    """
    typed = f"{command} {target}".rstrip() if target.isprintable() else f"{command} PATH"
    if alive:
        lines = "".join(f"\n  {server.url}  (folder {server.root_dir})" for server in alive)
        return (
            f"say which Jupyter server, of those that run here:{lines}\n"
            f"  jupyter wshandler {typed} --url {alive[0].url}"
        )
    return (
        f"no Jupyter server of yours runs on this machine (looked in {Path(runtime_dir())}). Start "
        "one (jupyter wshandler serve FILE, or jupyter lab), or name one elsewhere:\n"
        f"  jupyter wshandler {typed} --url http://host:8888/ --token TOKEN"
    )


def nobody_reads() -> None:
    """Let what is left to be written go nowhere: whoever was to read it has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
