"""Hear from the operating system that something in a few folders has changed."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

STEP = 100
"""Milliseconds of quiet that end a burst of changes, so that it is told once."""

BURST = 800
"""Milliseconds after which a burst is told even if it goes on."""

MOST_LINKS = 40
"""Links that are followed to one file, as many as Linux follows."""

_JOIN = 2.0


class Places(NamedTuple):
    """What to watch: names of entries, and the folders in which they may appear."""

    names: frozenset[str]
    folders: frozenset[str]


def places_of(files: Iterable[str]) -> Places:
    """Return what to watch to hear of a change of files, whether they exist or not.

    It is the folder of each, and where links lead to it, the folder of each link: Kubernetes
    changes a ConfigMap by swapping the link ``..data`` that all of its files lead through, and
    others swap a link some folders above.

    Args:
        files: Absolute paths.
    """
    entries: set[tuple[str, str]] = set()
    links: dict[str, bool] = {}
    for path in files:
        entries.update(_entries_on_the_way(path, links))
    folders = frozenset(folder for folder, _ in entries if os.path.isdir(folder))
    return Places(frozenset(name for _, name in entries), folders)


def _entries_on_the_way(path: str, links: dict[str, bool]) -> Iterator[tuple[str, str]]:
    """Yield folder and name of every link that leads to a file, and of the file at the end."""
    for _ in range(MOST_LINKS):
        link = next((part for part in _parts(path) if _is_link(part, links)), None)
        if link is None:
            break
        yield os.path.split(link)
        try:
            target = os.readlink(link)
        except OSError:  # gone meanwhile
            break
        # What stands before the first link has none, so that `..` means what it says.
        rest = path[len(link) :].lstrip(os.sep)
        path = os.path.normpath(os.path.join(os.path.dirname(link), target, rest))
    yield os.path.split(path)


def _parts(path: str) -> Iterator[str]:
    """Yield a path's folders, the topmost first, and the path."""
    position = path.find(os.sep, 1)
    while position > 0:
        yield path[:position]
        position = path.find(os.sep, position + 1)
    yield path


def _is_link(path: str, known: dict[str, bool]) -> bool:
    if path not in known:
        known[path] = os.path.islink(path)
    return known[path]


class FileWatch:
    """A watch that calls a function when a file of a certain name changes in some folders.

    The folders themselves are watched and nothing below them: the folder of a config file may be
    somebody's home. `watchfiles` is asked from a daemon thread of our own, since its own
    `awatch` waits in threads that would keep the process from ending.

    Args:
        notify: Called in the thread, after a burst of changes.
        failed: Called in the thread, with the reason, where the system cannot watch.
    """

    def __init__(self, notify: Callable[[], None], failed: Callable[[str], None]) -> None:
        self._notify = notify
        self._failed = failed
        self._names: frozenset[str] = frozenset()
        self._folders: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []  # the last one watches, others are ending

    @property
    def running(self) -> bool:
        """Whether a thread is there, possibly on its way to end."""
        return any(thread.is_alive() for thread in self._threads)

    def follow(self, places: Places) -> bool:
        """Watch these places and no others.

        Args:
            places: What `places_of` returned.

        Returns:
            Whether the set of watched folders changed: a change before that was not heard.
        """
        self._names = places.names
        folders = places.folders
        if folders == self._folders:
            return False
        self.stop()
        self._folders = folders
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if folders:
            self._stop = threading.Event()
            thread = threading.Thread(
                target=self._run,
                args=(sorted(folders), self._stop),
                name="wshandler-watch",
                daemon=True,
            )
            # A daemon thread inside compiled code must not meet the end of Python.
            atexit.unregister(self.join)
            atexit.register(self.join)
            self._threads.append(thread)
            thread.start()
        return True

    def stop(self) -> None:
        """Tell the thread to end, which it does within `STEP`."""
        self._stop.set()
        self._folders = frozenset()

    def join(self) -> None:
        """Wait until the thread has ended; at the latest before Python itself ends."""
        self.stop()
        for thread in self._threads:
            thread.join(_JOIN)
        atexit.unregister(self.join)

    def _run(self, folders: list[str], stop: threading.Event) -> None:
        try:
            from watchfiles import watch
        except ImportError as error:
            self._failed(f"watchfiles cannot be imported: {error}")
            return
        options: dict[str, Any] = {
            "watch_filter": self._is_wanted,
            "debounce": BURST,
            "step": STEP,
            "stop_event": stop,
            "recursive": False,
            "raise_interrupt": False,
        }
        try:
            for _ in watch(*folders, **options):
                self._notify()
        except Exception as error:
            if not stop.is_set():
                self._failed(f"{type(error).__name__}: {error}")

    def _is_wanted(self, change: object, path: str) -> bool:
        return os.path.basename(path) in self._names
