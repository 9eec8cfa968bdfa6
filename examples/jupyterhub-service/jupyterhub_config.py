# Bots for everybody as a service of the Hub: one server, which nobody has to start, and in which
# there is nothing but bots. It is the directory, too: users share bots of their own servers by it.
# Copy it to the end of your jupyterhub_config.py, or load this file there:
#
#     load_subconfig("/path/to/jupyterhub-service/jupyterhub_config.py")

import os
import socket
import sys
from pathlib import Path

c = get_config()  # noqa: F821

here = Path(__file__).resolve().parent

with socket.socket() as probe:  # any free port; on a real machine write one that stays
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

c.JupyterHub.services.append(
    {
        "name": "bots",
        # Where the service listens. People reach it at <hub>/services/bots/, by the Hub's proxy.
        "url": f"http://127.0.0.1:{port}",
        # `--bots-only` is what makes it safe to let people in: without it whoever may use the
        # service can open a terminal in it, as the account that runs the Hub.
        "command": [
            *(sys.executable, "-m", "jupyter_wshandler", "serve"),
            *(str(here / "routes" / "wshandler.yaml"), "--bots-only"),
            # As for users' own servers: the cookie alone opens no socket.
            "--WSHandlerApp.enforce=xsrf=ticket",
            # In a container one is often root, which Jupyter refuses to be unless told.
            *(["--allow-root"] if os.geteuid() == 0 else []),
        ],
        # The service is the administrator's own: the Hub need not ask whether it may know a name.
        "oauth_no_confirm": True,
        # Seconds that the Hub waits for it, without which the Hub does not start.
        "timeout": 120,
    }
)

# Who may use it; admins may anyway. For a class write "groups": ["class"] in place of "users"; for
# everybody put the scope into the role "user".
c.JupyterHub.load_roles.append(
    {"name": "use-bots", "users": ["ada", "bob"], "scopes": ["access:services!service=bots"]}
)

# What makes a directory of it: it may ask the Hub who is in which group, and where whose server is,
c.JupyterHub.load_roles.append(
    {
        "name": "directory",
        "services": ["bots"],
        "scopes": ["read:users:name", "read:users:groups", "read:servers"],
    }
)

# and users' servers know where it is: `bot.share(users=["bob"])`. This is the service's own address
# with its prefix, for servers on this machine; a Hub with a `base_url` has that in the prefix, too.
c.Spawner.environment.update({"WSHANDLER_DIRECTORY_URL": f"http://127.0.0.1:{port}/services/bots/"})
