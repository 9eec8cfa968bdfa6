"""The browser's helper under Node, which has no page around it, and is there at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.chatpage import STATIC
from support.need import need

SECONDS = 60
"""How long Node may take for one answer."""

DRIVER = """
import readline from 'node:readline';

// What a page has, and Node has not.
const around = new EventTarget();
const stored = new Map();
Object.assign(globalThis, {
  addEventListener: around.addEventListener.bind(around),
  sessionStorage: {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, String(value)),
    removeItem: (key) => stored.delete(key),
  },
});
globalThis.happens = (type, more = {}) => (
  around.dispatchEvent(Object.assign(new Event(type), more)));
globalThis.until = async (condition) => {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 5); });
};
globalThis.stored = stored;
globalThis.load = (name) => import(`./${name}.js`);
// As in a page, what nobody catches does not end it.
process.on('unhandledRejection', (error) => console.error(error));
Object.assign(globalThis, await import('./wshandler.js'));
globalThis.watched = (bot) => {
  bot.seen = [];
  bot.got = [];
  for (const type of ['open', 'away', 'resumed', 'renewed', 'unsent', 'unsure', 'state']) {
    bot.addEventListener(type, ({detail}) => bot.seen.push(
      type === 'state' ? `is ${bot.state}` : detail ? [type, detail] : type));
  }
  bot.addEventListener('message', ({data}) => bot.got.push(
    typeof data === 'string' ? data : [...new Uint8Array(data)]));
  return bot;
};
for await (const line of readline.createInterface({input: process.stdin})) {
  let answer;
  try {
    answer = {value: await (0, eval)(`(async () => { ${JSON.parse(line)} })()`)};
  } catch (error) {
    answer = {error: error.stack};
  }
  console.log(JSON.stringify(answer));
}
"""


class NodePage:
    """A running Node with the helper in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(self, script: str, **names: Any) -> Any:
        """Run the body of an async function there, with some names; return what it returns."""
        given = "".join(f"const {name} = {json.dumps(each)}; " for name, each in names.items())
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(given + script) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "Node has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer.get("value")


@contextmanager
def node_page(folder: Path) -> Iterator[NodePage]:
    """Start Node with the helper's modules in a folder."""
    for module in STATIC.glob("*.js"):
        shutil.copy(module, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "driver.js").write_text(DRIVER)
    command = [need("node"), "--experimental-websocket", "--no-warnings", "driver.js"]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield NodePage(process)
    finally:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
