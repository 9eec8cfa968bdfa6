"""Debian's Chromium, driven by Playwright, with profiles of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.need import need

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

SECONDS = 60
"""How long a page may take for anything, on a machine that has much else to do."""

expect.set_options(timeout=SECONDS * 1000)


@contextmanager
def running_chromium(*, keeps_pages: bool = False) -> Iterator[Browser]:
    """Start a browser with an empty profile and close it at the end.

    Args:
        keeps_pages: Whether pages that are left are kept for a while, as for everybody who has
            no Playwright (the back/forward cache).
    """
    executable = need("chromium")
    without = ["--disable-back-forward-cache"] if keeps_pages else None
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable, args=ARGUMENTS, ignore_default_args=without
        )
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def profile(chromium: Browser, **options) -> Iterator[BrowserContext]:
    """Open a profile with no cookies and no storage, and forget it at the end.

    Args:
        chromium: The browser.
        options: Options of Playwright's browser context, such as `color_scheme`.
    """
    context = chromium.new_context(**options)
    context.set_default_timeout(SECONDS * 1000)
    try:
        yield context
    finally:
        context.close()


def sign_in_at_hub(page: Page, user: str, password: str) -> None:
    """Fill in the form of JupyterHub's login page, and send it."""
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def errors_of(page: Page) -> list[str]:
    """Return the list that the page's script errors will be appended to."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def screenshot(page: Page, name: str) -> None:
    """Keep a picture of the page in the folder that WSHANDLER_SCREENSHOTS names, if it does."""
    folder = os.environ.get("WSHANDLER_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
