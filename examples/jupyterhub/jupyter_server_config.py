# The administrator's part of every user's server. On a real machine it goes to /etc/jupyter.
#
# All of it are defaults, which a user's ~/.jupyter may change for the user's own server. What has
# to hold goes to the command line: see c.Spawner.args in jupyterhub_config.py.

from pathlib import Path

c = get_config()  # noqa: F821

# The bots that everybody has.
c.WSHandlerApp.config_file = str(Path(__file__).resolve().parent / "routes" / "wshandler.yaml")

# What holds for routes that do not say otherwise, a user's own included.
c.WSHandlerApp.defaults = {
    # A person has a few tabs, not a hundred.
    "max_connections": 20,
    # Nobody types faster, and a script is slowed down before it hurts the others.
    "ratelimit": {"messages": "20/s", "then": "error"},
    # A logout, a revoked token or a lost group closes the socket within half a minute.
    "auth": {"recheck": "30s"},
}

# Bots of notebooks need a login and the same origin, whatever the notebook says.
c.WSHandlerApp.kernel_routes = "private"

# Homes on NFS: SQLite's locks are not to be trusted there, so sessions end with the server.
# c.WSHandlerApp.session_store = "memory://"
