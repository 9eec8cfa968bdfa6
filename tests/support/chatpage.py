"""A page like a notebook's, whose cells show the chat of a bot again and again."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect

STATIC = Path(__file__).parent.parent.parent / "jupyter_wshandler" / "server" / "static"

NOTEBOOK = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A notebook</title>
<style>
  body { margin: 1rem; font: 14px/1.4 sans-serif; }
  .cell { max-width: 54rem; margin-bottom: 1rem; }
  .code { padding: .5rem; border: 1px solid #8888; font-family: monospace; }
</style>
<body>
<script>
  // What leaked out of the chats.
  window.keys = [];
  for (const kind of ["keydown", "keypress", "keyup"]) {
    document.addEventListener(kind, (event) => window.keys.push(event.key));
  }

  // Throw the old output of a cell away and render a new one, as JupyterLab does.
  let runs = 0;
  window.run = async (cell, script, options, id = `wsh-${runs += 1}`) => {
    let element = document.getElementById(cell);
    if (!element) {
      element = document.createElement("div");
      element.id = cell;
      element.className = "cell";
      element.innerHTML = '<div class="code">bot</div><div class="output"></div>';
      document.body.append(element);
    }
    const output = document.createElement("div");
    output.className = "output";
    output.innerHTML = `<div id="${id}"><a href="#">the fallback</a></div>`;
    element.querySelector(".output").remove();
    element.append(output);
    const {mount} = await import(script);
    window.chat = mount(id, options);
  };
</script>
"""


def chat_page(title: str, static: str) -> str:
    """Return the default page of a bot with its placeholders filled in."""
    text = (STATIC / "chat.html").read_text()
    return text.replace("{{title}}", title).replace("{{static}}", static)


class Notebook:
    """A notebook's page in the browser.

    Args:
        context: The browser's profile.
        server: The server, with a route "/notebook" whose page is `NOTEBOOK`.
    """

    def __init__(self, context: BrowserContext, server) -> None:
        self.server = server
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.sockets: list[str] = []
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def open(self) -> Notebook:
        """Log in and show the empty notebook."""
        self.page.goto(f"{self.server.url}notebook?token={self.server.token}")
        return self

    def run(
        self,
        bot: str = "bot",
        *,
        cell: str = "first",
        key: str = "k",
        element: str | None = None,
        **options,
    ) -> Locator:
        """Run a cell that shows the chat of a bot; return the chat.

        Args:
            bot: The name of the route.
            cell: Which cell; its older output is thrown away.
            key: The chat's key.
            element: The id of the element in the output; a new one where None.
            options: More options of `mount`.
        """
        script = f"{self.server.base_url}static/wshandler/chat.js"
        wanted = {"path": f"{self.server.base_url}{bot}", "title": bot, "key": key, **options}
        self.page.evaluate(
            "([cell, script, options, id]) => window.run(cell, script, options, id ?? undefined)",
            [cell, script, wanted, element],
        )
        return self.chat(cell)

    def chat(self, cell: str = "first") -> Locator:
        """Return the chat in the output of a cell."""
        return self.page.locator(f"#{cell} .wshandler-chat")

    def connected(self, bot: str = "bot", **options) -> Locator:
        """Run a cell and wait until its chat is connected."""
        chat = self.run(bot, **options)
        expect(state(chat)).to_have_text("connected")
        return chat

    def call(self, script: str, argument=None):
        """Evaluate JavaScript with the handle of the last mounted chat as `chat`."""
        return self.page.evaluate(f"(argument) => {{ {script} }}", argument)


def state(chat: Locator) -> Locator:
    """Return where a chat says whether it is connected."""
    return chat.get_by_role("status")


def reason(chat: Locator) -> Locator:
    """Return where a chat says why it is not connected."""
    return chat.locator(".why")


def field(chat: Locator) -> Locator:
    """Return where one writes."""
    return chat.get_by_label("Your message")


def say(chat: Locator, text: str) -> None:
    """Type a message and send it with Enter."""
    field(chat).fill(text)
    field(chat).press("Enter")


def answers(chat: Locator) -> Locator:
    """Return the bot's messages."""
    return chat.locator(".turn.bot .bubble")


def contrast(element: Locator) -> float:
    """Return the contrast ratio of an element's text (WCAG 2.2, 1.4.3), shadow trees included."""
    text, behind = element.first.evaluate(
        """(element) => {
          const brush = document.createElement("canvas").getContext("2d");
          const paint = (colours) => {
            brush.globalCompositeOperation = "copy";
            brush.fillStyle = "white";
            for (const colour of colours) {
              brush.fillStyle = colour;
              brush.fillRect(0, 0, 1, 1);
              brush.globalCompositeOperation = "source-over";
            }
            return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
          };
          const grounds = [];
          for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
            grounds.unshift(getComputedStyle(at).backgroundColor);
          }
          return [paint([...grounds, getComputedStyle(element).color]), paint(grounds)];
        }"""
    )
    light, dark = sorted((luminance(text), luminance(behind)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[int]) -> float:
    """Return the relative luminance of a colour of three bytes."""
    parts = [value / 255 for value in colour]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
