"""The README's moving picture: its two cells, typed and run in a real JupyterLab.

``python -m support.picture`` writes `PICTURE`. What is typed stands in the README, so the picture
shows what a reader is going to do. Each frame is a screenshot that was taken when the page showed
something new; how long it is shown is decided here, so that a busy machine makes the same picture.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Locator, Page, expect

from support.browser import profile, running_chromium
from support.chatpage import field as text_field
from support.jupyterlab import LabNotebook, running_lab
from support.server import free_port, wait_for

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs" / "images" / "notebook.gif"

SIZE = {"width": 800, "height": 600}
"""Pixels of the browser's window, and so of the picture."""

COLOURS = 128
UNSEEN = 4
"""Smaller differences of two colours, of 255, do not count; a cell's grey is 10 from white."""

PATIENCE = 60
"""Seconds for anything in the page: nobody waits for this picture, and a machine may be busy."""

MOST_BYTES = 1024 * 1024

# Milliseconds that a frame is shown.
TYPED = 45
SHOWN = 400
STREAMED = 160
READ = 1300
AT_THE_END = 2000

SETTINGS = {
    # What is typed is what stands in the README, and nothing that an editor adds.
    "notebook-extension/tracker": {
        "codeCellConfig": {"autoClosingBrackets": False},
        "windowingMode": "none",
    },
    "completer-extension/manager": {"autoCompletion": False},
    "apputils-extension/themes": {
        "adaptive-theme": False,
        "theme": "JupyterLab Light",
        "overrides": {"code-font-size": "15px", "content-font-size1": "15px"},
    },
}


def cells() -> list[str]:
    """Return the cells of the README that the picture shows: a bot, and its next version."""
    page = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(%%websocket .*?)\n```", page, re.DOTALL)
    assert len(blocks) == 2, f"expected two cells with %%websocket in the README, found {blocks}"
    return blocks


def mark() -> str:
    """Return a name for what the picture shows, which is kept in the picture's comment."""
    return "README.md " + hashlib.sha256("\n".join(cells()).encode()).hexdigest()[:16]


def changed(last: Image.Image, frame: Image.Image) -> Image.Image:
    """Return a mask of what is new in a frame.

    A browser paints the edges of curves a little differently each time; nobody sees it, and it
    would be half of the file.
    """
    differences = ImageChops.difference(last, frame).split()
    most = functools.reduce(ImageChops.lighter, differences)
    return most.point([0] * UNSEEN + [255] * (256 - UNSEEN))


@dataclass
class Film:
    """Frames with their times.

    Args:
        page: What is taken.
    """

    page: Page
    frames: list[Image.Image] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def take(self, milliseconds: int) -> bool:
        """Take a frame; one that looks like the last makes that one longer. Say if it is new."""
        # A caret that blinks would be a new picture each time.
        taken = self.page.screenshot(animations="disabled", caret="hide")
        frame = Image.open(io.BytesIO(taken)).convert("RGB")
        if self.frames:
            last = self.frames[-1]
            new = changed(last, frame)
            if new.getbbox() is None:
                self.times[-1] = max(self.times[-1], milliseconds)
                return False
            frame = Image.composite(frame, last, new)
        self.frames.append(frame)
        self.times.append(milliseconds)
        return True

    def hold(self, milliseconds: int) -> None:
        """Take a frame as things are now, and show it for so long."""
        self.take(milliseconds)
        self.times[-1] = milliseconds

    def type(self, text: str, step: int = 3, milliseconds: int = TYPED) -> None:
        """Type on the keyboard, a frame for each few letters."""
        for at in range(0, len(text), step):
            self.page.keyboard.insert_text(text[at : at + step])
            self.take(milliseconds)

    def save(self, path: Path) -> None:
        """Write an endless GIF, all frames with the same colours, so that nothing flickers."""
        width, height = self.frames[0].size
        samples = self.frames[:: max(1, len(self.frames) // 8)] + self.frames[-1:]
        sheet = Image.new("RGB", (width, height * len(samples)))
        for number, sample in enumerate(samples):
            sheet.paste(sample, (0, height * number))
        palette = sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
        plain = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        plain[0].save(
            path,
            save_all=True,
            append_images=plain[1:],
            duration=self.times,
            loop=0,
            optimize=False,
            comment=mark().encode(),
        )


def wanted_port() -> int:
    """Return the port that every reader knows from Jupyter, or another where it is taken."""
    for family, *_, address in socket.getaddrinfo("localhost", 8888, type=socket.SOCK_STREAM):
        try:
            with socket.create_server(address[:2], family=family):
                pass
        except OSError:
            return free_port()
    return 8888


def tidy(page: Page) -> None:
    """Leave what the picture is about: one notebook, without the bars around it."""
    page.evaluate(
        """async () => {
          const {commands, shell} = jupyterapp;
          await commands.execute("application:set-mode", {mode: "single-document"});
          if (!shell.leftCollapsed) await commands.execute("application:toggle-left-area");
          await commands.execute("statusbar:toggle");
          // Its curves are painted a little differently each time, and so would fill the file.
          document.querySelector("#jp-MainLogo")?.replaceChildren();
          for (const side of ["left", "right"]) {
            await commands.execute("application:toggle-side-tabbar", {side});
          }
        }"""
    )


def connected(notebook: LabNotebook, number: int) -> Locator:
    """Return the chat below a cell, once it is connected."""
    chat = notebook.chat(number)
    expect(chat.get_by_role("status").filter(has_text="connected").first).to_be_visible()
    show(chat)
    return chat


def show(chat: Locator) -> None:
    """Scroll until one sees where one writes."""
    chat.evaluate("(host) => host.scrollIntoView({block: 'end'})")


def talk(film: Film, chat: Locator, text: str, answer: str) -> None:
    """Write to the bot, and film its answer, be it in one bubble or in many, until it is there."""
    text_field(chat).click()
    film.type(text, step=2)
    film.hold(SHOWN)
    film.page.keyboard.press("Enter")
    log = chat.get_by_role("log")

    def answered() -> bool:
        show(chat)
        film.take(STREAMED)
        return answer in " ".join(log.inner_text().split())

    wait_for(answered, 30, "the bot's answer", every=0)
    film.hold(READ)


def play(notebook: LabNotebook) -> Film:
    """Do what the README says, and film it."""
    first, second = cells()
    page = notebook.page
    film = Film(page)
    notebook.run(0)
    notebook.cell(1).locator(".cm-content").click()
    film.hold(SHOWN * 2)
    film.type(first)
    film.hold(SHOWN * 2)
    notebook.run(1)
    chat = connected(notebook, 1)
    film.hold(READ)
    talk(film, chat, "Hello world", "Got message: Hello world")

    notebook.cell(1).locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    film.hold(SHOWN)
    page.keyboard.press("Delete")
    film.type(second, step=5)
    film.hold(SHOWN * 2)
    notebook.run(1)
    talk(film, connected(notebook, 1), "Can you stream?", "Can you stream? Yes, word by word")
    film.hold(AT_THE_END)
    return film


def main(target: Path = PICTURE) -> None:
    """Make the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(
            Path(folder), settings=SETTINGS, host="localhost", port=wanted_port()
        ) as server,
        running_chromium() as chromium,
        profile(chromium, viewport=SIZE) as context,
    ):
        notebook = LabNotebook(
            context, server, ["%load_ext jupyter_wshandler", ""], "pingbot.ipynb"
        )
        tidy(notebook.page)
        film = play(notebook)
        assert notebook.problems == [], notebook.problems
        film.save(target)
    size = target.stat().st_size
    seconds = sum(film.times) / 1000
    print(f"{target}: {len(film.frames)} frames, {seconds:.1f} s, {size / 1024:.0f} KiB")
    assert size < MOST_BYTES, f"the picture is to be below {MOST_BYTES} bytes"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
