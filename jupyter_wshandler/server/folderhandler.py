"""Answer with the files of a route's page that is a folder."""

from __future__ import annotations

from asyncio import to_thread

from tornado.iostream import StreamClosedError

from ..config.paths import as_escaped, path_below
from . import folder, pages, sandbox
from .access.admission import AdmissionHandler
from .access.pagetickets import LENGTH
from .access.refused import Refused


class FolderHandler(AdmissionHandler):
    """A route's address, as far as it serves what `folder` and `pages` find, to the admitted."""

    etag = ""
    """That of a file, which is not in memory as a whole."""

    async def serve_folder(self) -> None:
        """Answer with a file of the folder that is the route's page."""
        if self.page_path is None and pages.accepts_html(self.accepted):
            # What the page loads, it names relative to its own address.
            self.redirect_below(f"./{self.request.path.rpartition('/')[2]}/")
            return
        try:
            found = folder.find(self.route.folder, self.page_path or "")
        except OSError as error:
            self.log.error("Route %s: its page: %s", self.route.config.name, error)
            raise Refused(503, "this file cannot be read") from None
        if isinstance(found, folder.Elsewhere):
            self.redirect_below(found.location)
        elif found is not None:
            with found.stream:
                await self.send_file(found)
        elif self.page_path:
            raise Refused(404, "there is no such file")
        else:
            name = self.route.config.name
            self.log.error("Route %s: there is no %s%s", name, self.route.folder, folder.INDEX)
            raise Refused(503, "this route's page cannot be read")

    async def serve_file(self) -> None:
        """Answer with the file that is the route's page."""
        try:
            found = pages.file_of(self.route)
        except OSError:
            found = None
        if found is None:
            name, path = self.route.config.name, self.route.config.page
            self.log.error("Route %s: cannot read its page %s", name, path)
            raise Refused(503, "this route's page cannot be read")
        with found.stream:
            await self.send_file(found)

    def redirect_below(self, location: str) -> None:
        """Send a browser to an address relative to this one, with the query that it came with."""
        self.set_header("Cache-Control", "no-store")
        # Relative: a proxy may serve all this below a prefix that nobody here knows.
        self.redirect(location + (f"?{self.request.query}" if self.request.query else ""))

    async def send_file(self, found: folder.PageFile) -> None:
        """Send a file, or 304 where the browser has it already."""
        start, left = b"", found.size
        if found.kind.startswith("text/html"):
            text = self.written_into_page()
            if text:
                start = await to_thread(found.stream.read, min(left, folder.PIECE))
                left -= len(start)
                start = sandbox.inserted(start, text)
            else:
                # Reading it sets the cookie that the page's POST for a ticket is checked with.
                _ = self.xsrf_token
        self.set_header("Content-Type", found.kind)
        self.set_header("Content-Length", left + len(start))
        if self.may_be_kept and not start:
            self.etag = found.tag
            # It may be kept, but not be shown again before it is known who asks, and whether it
            # is new.
            self.set_header("Cache-Control", "private, no-cache")
            self.set_etag_header()
            if self.check_etag_header():
                self.set_status(304)
                self.clear_header("Content-Length")
                self.finish()
                return
        if self.request.method == "HEAD":
            self.finish()
            return
        self.write(start)
        await self._send(found, left)

    async def _send(self, found: folder.PageFile, left: int) -> None:
        while left > 0:
            piece = await to_thread(found.stream.read, min(left, folder.PIECE))
            if not piece:
                # It has become shorter: an answer that is cut off says so, one that ends does not.
                self.detach().close()
                return
            left -= len(piece)
            self.write(piece)
            if left:
                try:
                    await self.flush()
                except StreamClosedError:
                    return
        self.finish()

    # ---- for guests -------------------------------------------------------------------------

    @property
    def may_be_kept(self) -> bool:
        """Whether a browser may show an answer again that it had from this address before.

        Not to a guest, who may have been here with a login, without a sandbox.
        """
        return self.claim is None

    def sandbox(self) -> None:
        """Let what is answered not act as its visitor, nor tell others its address.

        A guest may have a login at this host as well, and the page is somebody else's.
        """
        # Beside Jupyter's own: a browser obeys both.
        self.add_header("Content-Security-Policy", sandbox.POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "private, no-store")

    def written_into_page(self) -> bytes:
        """Return what is written into a page for a guest; nothing for anybody else."""
        claim, guest = self.claim, self.guest
        if claim is None or claim.card is None or guest is None:
            return b""
        ticket = key = "-" * LENGTH  # for who asks without showing it
        # Who comes with a token in a header counts when a socket opens, and would not any more with
        # the ticket of a page.
        if self.request.method == "GET" and claim.is_known:
            issue = self.services.guest_pages.issue
            page = issue(claim.card, guest, self.route.name, self.own_path)
            ticket, key = page.ticket, page.key
        base = ""
        if self.route.folder and claim.is_known:
            below = path_below(self.base_url, as_escaped(self.request.path)) or "/"
            base = sandbox.up(below) + sandbox.BELOW.lstrip("/") + key + below
        return sandbox.insertion(ticket, base)

    def compute_etag(self) -> str | None:
        """Return what tells one version of a file from another."""
        return self.etag or (super().compute_etag() if self.may_be_kept else None)
