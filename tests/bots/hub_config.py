"""The configuration of a Hub; tests/support/hub.py adds the settings that a test asks for."""

from pathlib import Path
from subprocess import STDOUT
from urllib.parse import quote

from jupyterhub.spawner import SimpleLocalProcessSpawner

SERVERS = Path(__file__).parent / "servers"


class Spawner(SimpleLocalProcessSpawner):
    # A log and a note of the process id for every server.
    async def start(self):
        stem = quote(f"{self.user.name}/{self.name}", safe="")
        with (SERVERS / f"{stem}.log").open("ab") as log:
            self.popen_kwargs = {"stdout": log, "stderr": STDOUT}
            address = await super().start()
        with (SERVERS / "pids").open("a") as pids:
            pids.write(f"{self.pid}\n")
        return address


c = get_config()  # noqa: F821 (Jupyter puts it here)
c.JupyterHub.spawner_class = Spawner
