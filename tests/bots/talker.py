"""A bot that answers the built-in chat with streams, Markdown, pictures, files and tables."""

import asyncio
import base64
import struct
import zlib
from pathlib import Path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def line(y):
    return b"\x00" + b"".join(bytes((4 * x, 90, 4 * y)) for x in range(60))


rows = b"".join(line(y) for y in range(40))
PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(rows))
    + chunk(b"IEND", b"")
)

MARKDOWN = """# A heading

Some **bold**, *italic*, `code`, 2*3*4 and snake_case_name.
A [link](https://example.org/a), a [trap](javascript:alert(1)), https://example.org/b.

- one
- two
  - inner

1. first
2. second

> quoted

```python
print("<b>", 1 < 2)
```

<img src=x onerror="document.title='pwned'"> ![remote](https://example.org/x.png)
"""


def on_error(handler, error):
    pass


async def on_message(handler, message):
    word, _, _ = message.partition(" ")
    if word == "words":
        for word in ["one", "two", "three"]:
            yield word + " "
    elif word == "tokens":
        yield {"token": "one "}
        yield {"token": "two"}
    elif word == "dicts":
        yield {"n": 1}
        yield "text"
        yield PNG
    elif word == "markdown":
        for start in range(0, len(MARKDOWN), 7):
            yield MARKDOWN[start : start + 7]
            await asyncio.sleep(0.01)
    elif word == "wait":
        while not Path("go").exists():
            await asyncio.sleep(0.02)
        yield "there"
    elif word == "endless":
        while True:
            yield "and "
            await asyncio.sleep(0.02)
    elif word == "picture":
        yield PNG
    elif word == "broken":
        yield PNG[:20]
    elif word == "dataurl":
        yield {"image": "data:image/png;base64," + base64.b64encode(PNG).decode()}
    elif word == "file":
        yield bytes(3000)
    elif word == "table":
        yield [{"name": "ada", "n": 1}, {"name": "bob", "n": 2.5}]
    elif word == "fail":
        yield "before "
        raise RuntimeError("a secret")
