"""``jupyter wshandler share``: a link to one bot of a running server, and what became of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from ..client.addresses import LOOPBACK, Server
from ..client.rest import request
from ..client.running import running_servers
from ..client.servers import find_server
from ..config.printing import printable
from ..errors import ConnectError, RequestRefused, ServerNotFound
from .shares import ends, guests, named, shares_table
from .words import complain, no_server, nobody_reads, of_the_command_line

NEVER = ("never", "none", "off")


@dataclass(frozen=True)
class Wish:
    """What is to be shared.

    Attributes:
        bot: The path of the bot, or its name.
        path: The path to share, where the bot's pattern has parts; empty for its own.
        label: What its guests are called.
        expires: How long the link works, such as "2h", in seconds, or "never".
        uses: How many guests it lets in; None for any number.
        page: Whether the bot's page is shared with it.
        users: The users of the Hub whom it is for; with no groups either, whoever has the link.
        groups: The groups of the Hub whom it is for.
    """

    bot: str = ""
    path: str = ""
    label: str = ""
    expires: str = ""
    uses: int | None = None
    page: bool = True
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def share(
    wish: Wish,
    *,
    show: bool = False,
    revoke: Sequence[str] = (),
    as_json: bool = False,
    url: str = "",
    token: str | None = None,
) -> int:
    """Share a bot, show what is shared, or end it.

    Args:
        wish: What to share; with `show`, of which bot the shares are wanted, or of all.
        show: Show what is shared.
        revoke: The ids of shares to end, or how they begin.
        as_json: Print what the server answers, for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if it is done, 1 where there is no server or it refuses, 2 for what cannot be meant.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not wish.bot and not wish.path and not show and not revoke:
        return _complain("say which bot: jupyter wshandler share /pingbot", 2)
    try:
        desk = _Desk(find_server(url or None), token, as_json, url)
        if revoke:
            return desk.revoke(revoke)
        return desk.show(wish.bot or wish.path) if show else desk.share(wish)
    except KeyboardInterrupt:
        return 130
    except ServerNotFound:
        asked = wish.bot or ("--list" if show else "--revoke ID" if revoke else wish.path)
        return _complain(no_server(asked, running_servers(), command="share"))
    except RequestRefused as error:
        return _complain(of_the_command_line(str(error)), 2 if error.status == 400 else 1)
    except ConnectError as error:
        return _complain(of_the_command_line(str(error)))
    except ValueError as error:
        return _complain(of_the_command_line(str(error)), 2)


class _Desk:
    """Where one server is asked, and what it answers is put into words."""

    def __init__(self, server: Server, token: str | None, as_json: bool, url: str) -> None:
        self._server = server
        self._token = token
        self._as_json = as_json
        # What has to be typed again, so that the same server is asked.
        self._option = f" --url {url}" if url else ""

    def share(self, wish: Wish) -> int:
        name, path = _name_and_path(wish)
        asked: dict[str, Any] = {"route": name, "path": path, "uses": wish.uses}
        asked |= {"label": wish.label, "expires": _seconds(wish.expires), "page": wish.page}
        asked |= {"users": wish.users, "groups": wish.groups}
        made = self._ask("POST", "shares", asked)
        if not self._as_json:
            _say(f"{named(made)}: {guests(made)} may talk to it, {ends(made)}.\n")
        try:
            print(json.dumps(made, indent=2) if self._as_json else made["url"], flush=True)
        except BrokenPipeError:
            # Nobody has the link, and nobody will be told it again.
            nobody_reads()
            self._end(made)
            return _complain("whoever was to take the link has gone; it is revoked")
        if self._as_json:
            return 0
        _say("\n" + (_of_people() if wish.users or wish.groups else _of_link(made["url"])))
        _say(
            f"  who is in    jupyter wshandler share --list{self._option}\n"
            f"  end it       jupyter wshandler share --revoke {made['id']}{self._option}"
        )
        return 0

    def show(self, bot: str) -> int:
        shares = [each for each in self._all() if not bot or _is_of(each, bot)]
        if self._as_json:
            _print_json({"shares": shares})
        elif shares:
            print("\n".join(shares_table(shares)))
            _say(f"\nEnd one with: jupyter wshandler share --revoke ID{self._option}")
        else:
            of = f" of {printable(bot)}" if bot else ""
            _say(f"Nothing{of} is shared. Share a bot with: jupyter wshandler share /pingbot")
        return 0

    def revoke(self, ids: Sequence[str]) -> int:
        known = self._all()
        found = [_one_of(known, each) for each in ids]
        for each in found:
            self._end(each)
            if not self._as_json:
                here = int(each.get("guests") or 0)
                bye = f" {here} guest{'s' * (here != 1)} had to leave." if here else ""
                _say(f"{named(each)}: the link {each['id']} is revoked.{bye}")
        if self._as_json:
            _print_json({"revoked": [each["id"] for each in found]})
        return 0

    def _end(self, share: dict[str, Any]) -> None:
        self._ask("DELETE", f"shares/{quote(str(share['id']), safe='')}")

    def _all(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "shares")["shares"])

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return request(self._server, method, path, body, token=self._token)


def _name_and_path(wish: Wish) -> tuple[str | None, str | None]:
    """Return the name of a route and the path below it, as the API takes them."""
    if not wish.bot.startswith("/"):
        return wish.bot or None, wish.path or None
    is_pattern = bool(set("{(*[") & set(wish.bot))
    if is_pattern and not wish.path:
        raise ValueError(
            f"the pattern {wish.bot} stands for many addresses; say which one to share: "
            f"jupyter wshandler share '{wish.bot}' --path /..."
        )
    if wish.path not in ("", wish.bot) and not is_pattern:
        raise ValueError(f"expected one path to share, found {wish.bot} and --path {wish.path}")
    return None, wish.path or wish.bot


def _seconds(time: str) -> str | float | None:
    """Return how long a link works as the API takes it: seconds, a text such as "2h", or None."""
    text = time.strip().lower()
    if text in NEVER:
        return None
    try:
        return float(text)
    except ValueError:
        return time.strip()


def _is_of(share: dict[str, Any], bot: str) -> bool:
    return bot in (share.get("route"), share.get("path"), share.get("pattern"))


def _one_of(shares: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Return the share that an id means, or the beginning of one."""
    found = [each for each in shares if each["id"] == wanted]
    found = found or [each for each in shares if wanted and str(each["id"]).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(each["id"]) for each in found)
        raise ValueError(f"{wanted} may be each of {ids}: type more of it")
    raise ValueError(
        f"nothing is shared with the id {printable(wanted)}; jupyter wshandler share --list shows "
        "what is"
    )


def _of_people() -> str:
    """Return what to do with the address of a share for people by their names."""
    return "They log in at the Hub and find it in its list of bots, or open this address."


def _of_link(url: str) -> str:
    """Return what to do with a link, and a warning where it leads nobody else here."""
    host, reach = urlsplit(url).hostname or "", ""
    if is_loopback(host):
        reach = (
            f"Its address, {host}, leads nobody else here: put one in its place by which they\n"
            "reach this server, or start that with --ServerApp.custom_display_url=https://...\n"
        )
    return (
        "It opens this bot and nothing else of your server. Copy it now: it is not shown again.\n"
        f"{reach}  talk to it   jupyter wshandler chat 'LINK'"
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is another one on every machine."""
    if host in LOOPBACK or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _complain(sentence: str, code: int = 1) -> int:
    return complain(sentence, code, command="share")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2), flush=True)
