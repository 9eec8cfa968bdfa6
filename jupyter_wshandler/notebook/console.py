"""`wsh.console()`: the server's console below a cell, and a link to it."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from ..client.servers import find_server, hub_server

HEIGHT = 640
"""Pixels of the frame below a cell."""


class Console:
    """The console of a server, as the last line of a cell shows it.

    Args:
        url: Its address.
        height: Pixels of the frame that shows it; 0 for a link alone.
        is_elsewhere: Whether it is another server than the one of the notebook.

    Attributes:
        url: Its address, without a token.
    """

    def __init__(self, url: str, height: int, *, is_elsewhere: bool = False) -> None:
        self.url = url
        self._height = height
        self._is_elsewhere = is_elsewhere

    def __repr__(self) -> str:
        """Return a line with the address."""
        return f"<Console {self.url}>"

    def _repr_html_(self) -> str:
        """Return a link that opens it in a tab of its own, and the frame where there is one."""
        # A browser may know the notebook's by another name, and has its login: the path is enough.
        address = html.escape(self.url if self._is_elsewhere else urlsplit(self.url).path)
        where = f'href="{address}" target="_blank" rel="noopener"'
        link = f"<p><a {where}>Open the console in a tab of its own</a></p>"
        if not self._height:
            return link
        return (
            f'{link}\n<iframe src="{address}" title="Console" width="100%" '
            f'height="{self._height}" style="border: 1px solid #8886; border-radius: 6px"></iframe>'
        )


def console(server: str | None = None, *, height: int = HEIGHT) -> Console:
    """Show the console of the server that this notebook runs in: what it does, in a browser.

    It is for whom the server lets look; see docs/console.md. Under JupyterHub a cell shows a link
    alone: there no page of a user's server may be shown in a frame.

    Args:
        server: The base URL of another server, of which a cell shows a link alone; found as
            `connect` finds it where None.
        height: Pixels of the frame below the cell.

    Returns:
        What a cell shows as a frame, and a terminal as an address.

    Raises:
        ServerNotFound: There is none, or several and nothing that tells which.
        ValueError: `server` is no URL, or `height` no number of pixels.
    """
    if isinstance(height, bool) or not isinstance(height, int) or not 100 <= height <= 10_000:
        raise ValueError(f"height: expected pixels from 100 to 10000, found {height!r}")
    url = f"{find_server(server).url}wshandler/"
    is_framed = server is None and hub_server() is None
    return Console(url, height if is_framed else 0, is_elsewhere=server is not None)
