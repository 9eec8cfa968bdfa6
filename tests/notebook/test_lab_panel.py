"""The extension for JupyterLab and Notebook 7: bots under "Running", a tile, and the console."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import Page, Route, expect
from support.browser import profile, screenshot
from support.jupyterlab import LabNotebook, running_lab
from support.server import running_server, wait_for

import jupyter_wshandler

NAME = "jupyter-wshandler"

ROUTES = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: panelbots.echo}}
  wrong: {pattern: /wrong, handler: WebSocketHandler, kwargs: {on_message: panelbots.nothing}}
"""
MODULES = {"panelbots.py": "def echo(handler, message):\n    return message\n"}

SERVE = """
import jupyter_wshandler as wsh

def on_message(handler, message):
    return message

bot = wsh.serve("/pingbot", on_message=on_message)
"""
STATE = "print(bot)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with running_lab(folder, config=ROUTES, modules=MODULES, base_url="/user/ann/") as running:
        yield running


@pytest.fixture(scope="module")
def person(chromium):
    with profile(chromium, viewport={"width": 1200, "height": 800}) as opened:
        yield opened


def rows(page):
    """Return the entries of routes under "Running": their labels are paths."""
    label = page.locator(".jp-RunningSessions-itemLabel", has_text=re.compile("^/"))
    return page.locator(".jp-RunningSessions-item", has=label)


def choose_theme(page, entry):
    """Choose an entry of Lab's menu of themes."""
    page.locator(".lm-MenuBar-item", has_text="Settings").click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Theme$")).click()
    page.locator(".lm-Menu-item", has_text=re.compile(f"^{entry}$")).click()


def lightness(frame):
    """Return how light the background of a page in a frame is, from 0 to 255."""
    color = frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


def forbid_frames(route: Route) -> None:
    """Let a server have the policy that a user's server has under JupyterHub; see tests/hub."""
    answer = route.fetch()
    policy = "frame-ancestors 'none'; default-src 'none'"
    route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})


def test_jupyter_lists_the_extension_as_ok_and_names_the_package():
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list", "--verbose"],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in (done.stderr + done.stdout).splitlines() if NAME in line]
    assert "OK" in line
    assert f"v{jupyter_wshandler.__version__} " in line
    assert "(python, jupyter_wshandler)" in line


def test_bots_are_under_running_with_open_and_stop_and_the_notebook_hears_of_it(person, server):
    notebook = LabNotebook(person, server, [SERVE, STATE])
    page = notebook.page
    try:
        notebook.run(0)
        page.locator(".lm-TabBar-tab[data-id='jp-running-sessions']").click()
        refresh = page.locator("#jp-running-sessions").get_by_role("button", name="Refresh List")
        refresh.click()
        expect(rows(page)).to_have_count(3)
        labels = rows(page).locator(".jp-RunningSessions-itemLabel")
        expect(labels).to_have_text(["/echo", "/pingbot", "/wrong"])
        details = rows(page).locator(".jp-RunningSessions-itemDetail")
        expect(details).to_have_text(["0 connected", "0 connected", "broken"])
        assert "panelbots" in labels.nth(2).get_attribute("title")
        screenshot(page, "lab-running")

        labels.nth(1).click()
        frame = page.frame_locator("#wshandler-console iframe")
        expect(frame.get_by_role("heading", name="Try it", exact=True)).to_be_visible()
        expect(frame.get_by_label("Route", exact=True)).to_have_value("pingbot")
        assert (
            page.locator("#wshandler-console iframe")
            .get_attribute("src")
            .endswith("/user/ann/wshandler/#try?route=pingbot")
        )
        screenshot(page, "lab-panel")

        # A route of the configuration cannot be stopped from here.
        stop = ".jp-RunningSessions-itemShutdown"
        expect(rows(page).first.locator(stop)).to_have_count(0)
        rows(page).nth(1).hover()
        rows(page).nth(1).locator(stop).click()
        expect(rows(page)).to_have_count(2)
        notebook.page.locator(".lm-TabBar-tab", has_text=notebook.name).click()
        said = notebook.run(1).inner_text()
        assert "no longer served: " in said
        assert "has stopped it; run its cell to serve it again" in said
        assert notebook.problems == []
    finally:
        notebook.close()


def test_the_launcher_has_a_tile_that_opens_the_console(person, server):
    page = person.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{server.url}lab/workspaces/tile?reset&token={server.token}")
    tile = page.locator(".jp-LauncherCard", has_text="WebSocket bots")
    with page.expect_response(
        lambda answer: (
            "/api/workspaces/" in answer.url
            and answer.request.method == "PUT"
            and "wshandler" in (answer.request.post_data or "")
        )
    ):
        tile.click()
    frame = page.locator("#wshandler-console iframe")
    expect(frame).to_have_attribute("src", f"{server.url}wshandler/")
    shown = page.frame_locator("#wshandler-console iframe")
    expect(shown.get_by_role("row").filter(has_text="/echo")).to_contain_text("ready")
    screenshot(page, "lab-tile")
    # It is as light or dark as Lab, whatever the system is; what is emulated goes over both.
    page.emulate_media(color_scheme="no-override")
    assert lightness(shown) > 200
    choose_theme(page, "Synchronize with System Settings")  # no more
    choose_theme(page, "JupyterLab Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    wait_for(lambda: lightness(shown) < 60, 30, "a dark panel")
    screenshot(page, "lab-dark")
    # After a reload the panel is back in its place.
    page.goto(f"{server.url}lab/workspaces/tile")
    expect(frame).to_have_attribute("src", f"{server.url}wshandler/")
    expect(shown.get_by_role("row").filter(has_text="/echo")).to_be_visible()
    # Where frames are forbidden, it is a tab of the browser, and no panel comes back.
    popups: list[Page] = []
    page.on("popup", lambda popup: popups.append(popup))
    page.route(re.compile(r"/wshandler/api/routes(\?|$)"), forbid_frames)
    page.goto(f"{server.url}lab/workspaces/tile")
    expect(tile).to_be_visible()
    expect(frame).to_have_count(0)
    assert popups == []
    with page.expect_popup() as opened:
        tile.click()
    expect(opened.value.get_by_role("heading", name="Console", exact=True)).to_be_visible()
    assert opened.value.url == f"{server.url}wshandler/"
    opened.value.close()
    assert problems == []
    page.close()


def test_in_notebook_7_bots_are_under_running_and_open_in_a_tab(person, tmp_path):
    with running_server(
        ROUTES,
        folder=tmp_path,
        modules=MODULES,
        command=[sys.executable, "-m", "notebook"],
        extra_args=["--JupyterNotebookApp.expose_app_in_browser=True"],
    ) as running:
        page = person.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{running.url}tree?token={running.token}")
        page.get_by_role("tab", name="Running").click()
        expect(rows(page)).to_have_count(2)
        screenshot(page, "notebook-running")
        with page.expect_popup() as opened:
            rows(page).first.locator(".jp-RunningSessions-itemLabel").click()
        assert opened.value.url == f"{running.url}wshandler/#try?route=echo"
        # Notebook 7.6.5 has that one by itself.
        assert [problem for problem in problems if "reading 'schema'" not in problem] == []
        page.close()


def test_where_the_servers_part_is_off_lab_has_no_tile_and_asks_once(person, tmp_path):
    off = "--ServerApp.jpserver_extensions={'jupyter_wshandler': False}"
    with running_lab(tmp_path, off) as running:
        page = person.new_page()
        asked: list[str] = []
        page.on("response", lambda answer: asked.append(f"{answer.status} {answer.url}"))
        page.goto(f"{running.url}lab?token={running.token}")
        expect(page.locator(".jp-LauncherCard").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        # Lab adds the time to what it asks, so that no cache answers.
        ours = [line.partition("?")[0] for line in asked if "wshandler/api" in line]
        assert ours == [f"404 {running.url}wshandler/api/routes"]
        expect(page.locator(".jp-LauncherCard", has_text="WebSocket bots")).to_have_count(0)
        page.close()


def test_only_a_notebooks_bot_is_stopped_over_rest(server):
    status, _, body = server.fetch("wshandler/api/routes/echo", method="DELETE")
    assert (status, json.loads(body)["message"]) == (
        409,
        "this route is one of the server's configuration: take it out there to stop it",
    )
    assert server.fetch("wshandler/api/routes/nobody", method="DELETE")[0] == 404
    assert server.fetch("wshandler/api/routes/echo", method="DELETE", token=False)[0] == 403
