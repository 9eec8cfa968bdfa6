# A Hub whose users all have the same bots. `make hub` starts it; the README says what to look at.
#
# Nothing of it stays: state and homes are in a temporary folder, and passwords are new each time.

import atexit
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from jupyterhub.roles import get_default_roles

c = get_config()  # noqa: F821

here = Path(__file__).resolve().parent
state = Path(tempfile.mkdtemp(prefix="jupyterhub-"))
# The Hub ends its servers before it ends itself, so nobody writes there any more.
atexit.register(shutil.rmtree, state, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- where it is --------------------------------------------------------------------------------

# PORT=9000 make hub, where 8000 is taken.
url = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/"

# Only this machine reaches it: passwords travel in clear.
c.JupyterHub.bind_url = url

# By which address people reach it: servers begin links with it, as they see their own alone.
c.JupyterHub.public_url = url

# Two more ports, for the Hub itself and for what it tells its proxy, behind the public one.
c.JupyterHub.hub_port = free_port()
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{free_port()}"

# The database, the key of the cookies and the note of the proxy's process go away with the rest.
c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret = secrets.token_bytes(32)
c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")

# The proxy and the single-user servers are found beside this Python, activated or not.
os.environ["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"

# What is left to read is what the servers say, and so the bots.
c.JupyterHub.log_level = "ERROR"
c.ConfigurableHTTPProxy.log_level = "error"

# ---- who is there -------------------------------------------------------------------------------

password, admin_password = secrets.token_urlsafe(9), secrets.token_urlsafe(24)

# One password for all, which is all that a demonstration needs; use your own login instead.
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = password
c.SharedPasswordAuthenticator.admin_password = admin_password
c.Authenticator.allowed_users = {"ada", "bob"}
c.Authenticator.admin_users = {"grace"}

# A bot sees the groups of its user, and a route may ask for one with `auth: {groups: [staff]}`.
c.JupyterHub.load_groups = {"staff": {"users": ["ada"]}}

# Users may share their servers with each other: that is off in JupyterHub.
sharing = ["self", "shares!user", "read:users:name", "read:groups:name"]
c.JupyterHub.load_roles = [
    role | {"scopes": sharing} for role in get_default_roles() if role["name"] == "user"
]

# A second server of each user, which has the same bots.
c.JupyterHub.allow_named_servers = True

# Servers that nobody uses are stopped. A chat with messages keeps its server; a page that is only
# open does not (`keep_alive` of a route).
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600"],
    }
]
c.JupyterHub.load_roles.append(
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
)

# ---- what everybody's server is like ------------------------------------------------------------

# Processes of this user on this machine, with a home below the temporary folder. It keeps nobody
# out of anybody's files; it needs no root, no users of the system and no containers.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(state / "homes" / "{username}")

# After the login a user sees the first bot.
c.Spawner.default_url = "/greeter"

c.Spawner.environment = {
    # Where jupyter_server_config.py is. A real one goes to /etc/jupyter and needs no such line;
    # then ~/.jupyter wins over it, where this variable wins over ~/.jupyter.
    "JUPYTER_CONFIG_PATH": str(here),
    # A plain Jupyter server; JupyterLab is at /user/<name>/lab if it is installed.
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter-server",
}

c.Spawner.args = [
    # What no route may override, whoever writes it. It holds here, on the command line, and not
    # in a file of /etc/jupyter: what a user writes into ~/.jupyter wins over those.
    "--WSHandlerApp.enforce=max_message=64KiB",
    # All servers share one host, so another user's page could use a visitor's cookie. With tickets
    # the cookie alone opens no socket; c.JupyterHub.subdomain_host is the whole cure.
    "--WSHandlerApp.enforce=xsrf=ticket",
]

# JupyterLab is for notebooks, and the bots need none: with LAB=0 servers start in half the time.
if os.environ.get("LAB") == "0":
    c.Spawner.args.append("--ServerApp.jpserver_extensions=jupyterlab=False")
# On a small machine its start can take longer than the 30 s that a Hub waits for a server.
c.Spawner.http_timeout = 120
if os.geteuid() == 0:
    # In a container one is often root, which Jupyter refuses to be unless told.
    c.Spawner.args.append("--allow-root")

# ---- bots for all, and the page where users find what they share with each other -----------------

# See ../jupyterhub-service. It comes last, as it adds to what stands above.
load_subconfig(str(here.parent / "jupyterhub-service" / "jupyterhub_config.py"))  # noqa: F821
c.JupyterHub.services[-1]["environment"] = {"HOME": str(state)}

print(
    f"""
JupyterHub will be at {url} in a few seconds.

    name     password
    ada      {password}    (in the group staff)
    bob      {password}
    grace    {admin_password}    (an admin)

Bots for all of them, and those that they share with each other, are at {url}services/bots/

Ctrl-C stops it and its servers.
""",
    flush=True,
)
