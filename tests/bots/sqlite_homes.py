"""A bot that keeps an `sqlite3` connection per visitor."""

import sqlite3
import time


def open(handler):
    handler.state["db"] = sqlite3.connect(":memory:")
    handler.state["db"].execute("create table said (what)")


def on_message(handler, message):
    time.sleep(float(message))
    handler.state["db"].execute("insert into said values (?)", [message])
    return str(handler.state["db"].execute("select count(*) from said").fetchone()[0])


def on_close(handler):
    handler.state["db"].close()
