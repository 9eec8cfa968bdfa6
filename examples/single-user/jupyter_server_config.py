# A server of one person, in ~/.jupyter or beside the notebooks:
#
#     jupyter lab --config=jupyter_server_config.py

from pathlib import Path

c = get_config()  # noqa: F821

here = Path(__file__).resolve().parent

# The routes. Save the file, and they are served as it says; no restart.
c.WSHandlerApp.config_file = str(here.parent / "pingbot" / "wshandler.yaml")

# What holds for every route that does not say otherwise.
c.WSHandlerApp.defaults = {"max_connections": 20, "idle_timeout": "2h"}

# For all of the server: how long a client has for the header of a request. Tornado's own is an
# hour; behind nginx it is not needed.
c.WSHandlerApp.header_timeout = 30

# A server that nobody uses ends by itself. Messages are use; a page that is only open is none.
c.ServerApp.shutdown_no_activity_timeout = 8 * 3600
