"""A real JupyterLab in a process of its own, and notebooks open in it, in a real browser."""

from __future__ import annotations

import json
import re
import sys
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from support.server import RunningServer, running_server

NOTEBOOKS = ".jp-NotebookPanel:not(.lm-mod-hidden)"

QUIET = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True",
)
"""Options with which Lab asks nobody on the internet for anything, and says how its kernel is."""

READY = """() => {
  const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
  const kernel = context?.isReady && context.session?.kernel;
  return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle"
    ? kernel.id : null;
}"""
"""Returns the kernel's id once a cell that is run is run by it: an earlier one is forgotten."""

SETTINGS = {
    # Else the first page asks whether it may fetch news.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Light or dark as the browser's profile says.
    "apputils-extension/themes": {"adaptive-theme": True},
}
"""A person's settings by plugin; the rest is as Lab comes."""


@contextmanager
def running_lab(
    folder: Path, *more: str, settings: dict | None = None, **options
) -> Iterator[RunningServer]:
    """Start JupyterLab and stop it at the end.

    Args:
        folder: The server's folder.
        more: More arguments of the command.
        settings: More settings of the person, by plugin, such as
            ``{"notebook-extension/tracker": {"windowingMode": "full"}}``.
        options: Options of `running_server`.
    """
    personal = folder / "lab-settings"
    for plugin, values in {**SETTINGS, **(settings or {})}.items():
        file = personal / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with running_server(
        folder=folder,
        command=[sys.executable, "-m", "jupyterlab"],
        extra_args=[*QUIET, f"--LabApp.user_settings_dir={personal}", *more],
        **options,
    ) as server:
        yield server


def write_notebook(folder: Path, cells: Sequence[str], name: str = "") -> str:
    """Write a notebook with code cells that have not been run, and return its name."""
    name = name or f"bots-{uuid.uuid4().hex[:8]}.ipynb"
    code = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": textwrap.dedent(text).strip(),
        }
        for number, text in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "cells": code,
    }
    (folder / name).write_text(json.dumps(notebook))
    return name


class LabNotebook:
    """A notebook that is open in a page of JupyterLab, with a kernel of its own.

    Args:
        context: The browser's profile.
        server: A `running_lab`.
        cells: The code of its cells.
        name: The file's name; a new one where it is empty.

    Attributes:
        page: The page.
        problems: Errors of the page's scripts and of its console. Lab has none without us.
        console: Everything that the console has shown.
    """

    def __init__(
        self,
        context: BrowserContext,
        server: RunningServer,
        cells: Sequence[str],
        name: str = "",
    ):
        self.server = server
        self.name = write_notebook(server.folder, cells, name)
        self.problems: list[str] = []
        self.console: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._said)
        # A workspace of its own: the one by default opens the notebooks of other tests again.
        self.page.goto(
            f"{server.url}lab/workspaces/{self.name.removesuffix('.ipynb')}/tree/{self.name}"
            f"?token={server.token}"
        )
        self.panel = self.page.locator(NOTEBOOKS)
        expect(self.panel.locator(".jp-Cell")).to_have_count(len(cells))
        self.until_idle()

    def _said(self, message: ConsoleMessage) -> None:
        line = f"{message.type}: {message.text} ({message.location.get('url', '')})"
        self.console.append(line)
        if message.type == "error":
            self.problems.append(line)

    def forgive(self, pattern: str) -> None:
        """Forget the problems in which a regular expression is found; there must be some."""
        left = [problem for problem in self.problems if not re.search(pattern, problem)]
        assert len(left) < len(self.problems), (pattern, self.problems)
        self.problems[:] = left

    # ---- cells ---------------------------------------------------------------------------------

    def cell(self, number: int) -> Locator:
        """Return a cell by its place."""
        return self.panel.locator(".jp-Cell").nth(number)

    def output(self, number: int) -> Locator:
        """Return what a cell shows below its code."""
        return self.cell(number).locator(".jp-Cell-outputArea")

    def chat(self, number: int) -> Locator:
        """Return the chat below a cell."""
        return self.output(number).locator(".wshandler-chat")

    def edit(self, number: int, code: str) -> None:
        """Replace the code of a cell in its editor."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(textwrap.dedent(code).strip())

    def start(self, number: int) -> None:
        """Run a cell with Shift+Enter."""
        # A restarted kernel counts from 1 again: the number alone does not tell a new run.
        self.page.evaluate(
            """(number) => {
              const {widgets} = jupyterapp.shell.currentWidget.content;
              widgets[number].model.executionCount = null;
            }""",
            number,
        )
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")

    def wait(self, number: int) -> None:
        """Wait for the end of a cell that was started."""
        expect(self.prompt(number)).to_have_text(re.compile(r"^\[\d+\]:$"))

    def has_ended(self, number: int) -> bool:
        """Say whether a cell that was started has come to its end."""
        return self.prompt(number).inner_text() not in ("[ ]:", "[*]:")

    def run(self, number: int) -> Locator:
        """Run a cell to its end; return its output."""
        self.start(number)
        self.wait(number)
        return self.output(number)

    def prompt(self, number: int) -> Locator:
        """Return where a cell shows the number of its run: "[3]:", or "[*]:" until its end."""
        return self.cell(number).locator(".jp-InputPrompt")

    def window(self, mode: str) -> None:
        """Set the windowing mode: "full" takes cells out of the document that nobody sees."""
        self.page.evaluate(
            """(windowingMode) => {
              const notebook = jupyterapp.shell.currentWidget.content;
              notebook.notebookConfig = {...notebook.notebookConfig, windowingMode};
            }""",
            mode,
        )

    def scroll_to(self, number: int) -> None:
        """Show a cell, as far away as it may be."""
        self.page.evaluate(
            "(number) => jupyterapp.shell.currentWidget.content.scrollToItem(number, 'start')",
            number,
        )

    # ---- the kernel ----------------------------------------------------------------------------

    def until_idle(self) -> str:
        """Wait until the notebook's kernel is there and has nothing to do; return its id."""
        return self.page.wait_for_function(READY).json_value()

    def restart(self) -> None:
        """Restart the kernel by Lab's Kernel menu, and say yes to its question."""
        self.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        labels = self.page.locator(".lm-Menu-itemLabel")
        labels.get_by_text("Restart Kernel…", exact=True).click()
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def save(self) -> None:
        """Save the notebook by Lab's File menu."""
        self.page.get_by_role("menuitem", name="File", exact=True).click()
        labels = self.page.locator(".lm-Menu-itemLabel")
        labels.get_by_text("Save Notebook", exact=True).click()
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    def close(self) -> None:
        """Shut the notebook's kernel down."""
        status, _, body = self.server.fetch("api/sessions")
        assert status == 200, status
        for session in json.loads(body):
            if session["path"] == self.name:
                self.server.fetch(f"api/sessions/{session['id']}", method="DELETE")
