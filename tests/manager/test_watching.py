"""The files of the routes, watched: what is saved is served, and nothing stays at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import threading
from functools import partial

import pytest
from functions.test_reload import ECHO, Site, bot, routes, until

from jupyter_wshandler.functions.watch import FileWatch, places_of
from jupyter_wshandler.manager import importing, watching
from jupyter_wshandler.manager.watching import FileWatcher


@pytest.mark.parametrize("watching", ["auto", "poll"])
async def test_what_is_saved_is_served_without_being_asked(tmp_path, watching):
    site = Site(tmp_path, watching)
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    try:
        site.write("one.py", ECHO.format(answer="v2"))
        await until(lambda: site.answer("a") == "v2")
        site.yaml.write_text(routes(a=bot("one"), b=bot("three")))
        await until(lambda: site.manager.table.get("b"))
        site.write("three.py", ECHO.format(answer="v1"))
        await until(lambda: site.manager.table.get("b").state == "ready")
    finally:
        await site.manager.stop(2)


async def test_what_happens_to_the_folder_itself_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder, "auto")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    try:
        monkeypatch.setattr(watching, "LOOK_AUTO", 0.5)
        shutil.copytree(folder, tmp_path / "copy")
        shutil.rmtree(folder)
        await until(lambda: site.manager.reload_errors)
        assert site.answer("a") == "v1"
        shutil.move(tmp_path / "copy", folder)
        await until(lambda: not site.manager.reload_errors)
        # From the second one on only the operating system can have told of it.
        monkeypatch.setattr(watching, "LOOK_AUTO", 3600)
        for version in ("v2", "v3", "v4"):
            site.write("one.py", ECHO.format(answer=version))
            await until(lambda version=version: site.answer("a") == version)
    finally:
        await site.manager.stop(2)


async def test_without_watchfiles_the_files_are_looked_at(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    site = Site(tmp_path, "auto")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    try:
        await until(lambda: "watchfiles cannot be imported" in caplog.text)
        site.write("one.py", ECHO.format(answer="v2"))
        await until(lambda: site.answer("a") == "v2")
    finally:
        await site.manager.stop(2)


async def test_switched_off_nothing_is_watched(tmp_path):
    site = Site(tmp_path, "off")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    try:
        assert not [t for t in threading.enumerate() if t.name.startswith("wshandler-watch")]
        assert not [t for t in asyncio.all_tasks() if t.get_name() == "wshandler reload"]
    finally:
        await site.manager.stop(2)


async def test_stopping_leaves_no_task_no_thread_and_no_module(tmp_path):
    threads, tasks, path = set(threading.enumerate()), asyncio.all_tasks(), list(sys.path)
    site = Site(tmp_path, "auto")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    await until(lambda: any(t.name == "wshandler-watch" for t in threading.enumerate()))
    site.write("one.py", ECHO.format(answer="v2"))
    await until(lambda: site.answer("a") == "v2")
    await site.manager.stop(2)
    assert set(threading.enumerate()) == threads
    assert asyncio.all_tasks() == tasks
    assert sys.path == path
    assert "one" not in sys.modules


async def test_a_module_that_never_ends_its_import_does_not_keep_the_manager_from_stopping(
    tmp_path, caplog
):
    site = Site(tmp_path, "auto")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    release = site.folder / "release"
    site.write(
        "one.py",
        f"import os, time\nopen({str(release)!r} + '.seen', 'w').close()\n"
        f"while not os.path.exists({str(release)!r}): time.sleep(0.01)\n",
    )
    await until(lambda: (site.folder / "release.seen").exists())
    assert site.answer("a") == "v1"
    try:
        async with asyncio.timeout(10):
            await site.manager.stop(2)
        assert "a reload still ran" in caplog.text
    finally:
        release.touch()
        await until(lambda: not [t for t in threading.enumerate() if "wshandler-reload" in t.name])


async def test_a_watch_tells_of_its_files_only_and_not_of_each_write(tmp_path):
    told = threading.Semaphore(0)
    watch = FileWatch(told.release, pytest.fail)

    async def heard(seconds: float) -> bool:
        return await asyncio.to_thread(told.acquire, timeout=seconds)

    async def count() -> int:
        """Return how often it was told, until it is quiet for longer than a burst may last."""
        times = 0
        while await heard(1.5):
            times += 1
        return times

    try:
        assert watch.follow(places_of([str(tmp_path / "bot.py"), str(tmp_path / "none" / "x.py")]))
        assert not watch.follow(places_of([str(tmp_path / "bot.py")]))
        # The thread begins to listen in its own time: write until it is heard.
        for _ in range(100):
            (tmp_path / "bot.py").write_text("x")
            if await heard(0.3):
                break
        else:
            pytest.fail("nothing was heard")
        await count()
        (tmp_path / "other.py").write_text("x")
        assert await count() == 0
        for number in range(50):
            (tmp_path / "bot.py").write_text(str(number))
        assert 1 <= await count() < 10
    finally:
        watch.join()
    assert not watch.running


async def test_a_system_that_cannot_watch_is_said_and_looked_at_instead(tmp_path, monkeypatch):
    import watchfiles

    def refuse(*paths, **options):
        raise OSError("no space left on device: the limit of watches is reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    reasons: list[str] = []
    watch = FileWatch(lambda: None, reasons.append)
    watch.follow(places_of([str(tmp_path / "bot.py")]))
    await until(lambda: reasons)
    assert "limit of watches" in reasons[0]
    watch.join()


# ---- looks that fail ----------------------------------------------------------------------------


async def test_a_look_that_fails_says_so_once_for_each_reason_and_when_it_works_again(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(watching, "LOOK_POLL", 0.01)
    site = Site(tmp_path, "poll")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    loader, looks = site.manager.served._loader, 0
    look = loader.look

    def fail(reason):
        nonlocal looks
        looks += 1
        raise OSError(reason)

    try:
        for reason in ("Stale file handle", "Input/output error"):
            monkeypatch.setattr(loader, "look", partial(fail, reason))
            seen = looks
            await until(lambda seen=seen: looks > seen + 5)
        assert site.answer("a") == "v1"
        monkeypatch.setattr(loader, "look", look)
        site.write("one.py", ECHO.format(answer="v2"))
        await until(lambda: site.answer("a") == "v2")
    finally:
        await site.manager.stop(2)
    for reason in ("Stale file handle", "Input/output error"):
        assert (
            caplog.text.count(
                f"cannot be looked at; what is served goes on, and changes are "
                f"not noticed meanwhile: OSError: {reason}"
            )
            == 1
        )
    assert caplog.text.count("The files of the routes can be looked at again") == 1
    assert "Traceback" not in caplog.text


async def test_a_file_system_that_does_not_answer_is_named_and_so_is_its_return(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(watching, "LOOK_POLL", 0.01)
    monkeypatch.setattr(importing, "SLOW", 0.05)
    site = Site(tmp_path, "poll")
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    loader, answers = site.manager.served._loader, threading.Event()
    look = loader.look

    def hang():
        answers.wait(30)
        return look()

    monkeypatch.setattr(loader, "look", hang)
    try:
        await until(lambda: "the file system has not answered" in caplog.text)
        assert "imported again" not in caplog.text
        answers.set()
        await until(lambda: "can be looked at again" in caplog.text)
    finally:
        answers.set()
        await site.manager.stop(2)


# ---- the watcher by itself -----------------------------------------------------------------------


class Files:
    """One file that a watcher is asked to watch, and what becomes of its changes."""

    def __init__(self, folder) -> None:
        self.path = folder / "one.py"
        self.path.write_text("")
        self.known = self.path.stat().st_mtime_ns
        self.reloads = 0
        self.during = lambda: None

    def change(self) -> None:
        self.path.write_text("x" * self.reloads)
        os.utime(self.path, ns=(self.known + 10**9, self.known + 10**9))

    async def places(self):
        return places_of([str(self.path)])

    async def look(self) -> bool:
        return self.path.stat().st_mtime_ns != self.known

    async def reload(self) -> None:
        self.known = self.path.stat().st_mtime_ns
        self.reloads += 1
        during, self.during = self.during, lambda: None
        during()
        await asyncio.sleep(0.01)  # a real one takes a while: what the system tells arrives

    async def watched(self, condition, *, is_told: bool) -> None:
        """Watch until a condition holds."""
        watcher = FileWatcher(
            logging.getLogger("test.watching"),
            is_told=is_told,
            places=self.places,
            look=self.look,
            reload=self.reload,
        )
        task = asyncio.create_task(watcher.run())
        try:
            await until(condition)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_what_changes_while_a_reload_runs_is_reloaded_without_waiting_for_the_next_look(
    tmp_path, monkeypatch
):
    class System:
        """What the system tells, at the moments that the test chooses."""

        running = False

        def __init__(self, notify, failed) -> None:
            self.tell = notify
            self.follows = False
            files.during = self.change

        def change(self) -> None:
            files.change()
            self.tell()

        def follow(self, places) -> bool:
            is_new, self.follows = not self.follows, True
            return is_new

        def stop(self) -> None:
            self.follows = False

    monkeypatch.setattr(watching, "LOOK_AUTO", 3600)
    monkeypatch.setattr(watching, "FileWatch", System)
    files = Files(tmp_path)
    files.change()
    await files.watched(lambda: files.reloads == 2, is_told=True)


async def test_a_reload_that_fails_is_logged_and_the_watching_goes_on(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(watching, "LOOK_POLL", 0.01)
    files = Files(tmp_path)

    def fail():
        files.change()
        raise RuntimeError("no reload today")

    files.during = fail
    files.change()
    await files.watched(lambda: files.reloads == 2, is_told=False)
    assert caplog.text.count("The reload failed; the last good version goes on") == 1
    assert "no reload today" in caplog.text
