#!/usr/bin/env bash
# jupyterhub 6.1.1: a service that is not up in time ends the Hub, and goes on without it.
#
# Guess:  a managed service whose address does not answer within its `timeout` (30 s unless said
#         otherwise) is an error line in the log; the Hub's users log in all the same, as they do
#         where an external service is not there. If the Hub did end, it would take along what it
#         has started.
# Seen:   the Hub ends with exit code 1 after it has answered requests for that time. The service
#         and the proxy go on: the service is listening a moment later, with a token of a Hub that
#         is no more, and holds the port that the next start needs.
# Why:    one service that imports a lot, or waits for a database, on a busy machine takes the whole
#         Hub down, and whatever starts it again meets the ports of the last try. Give a slow
#         service a longer `"timeout"`, and run the Hub where its process group ends with it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check jupyterhub==6.1.1 psutil==7.2.1
npm install --silent --no-audit --no-fund --prefix "$dir" configurable-http-proxy@5.3.0 >/dev/null
cat >service.py <<'PY'
import http.server
import sys
import time

time.sleep(8)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
PY
cat >jupyterhub_config.py <<'PY'
import os
import sys

hub, api, proxy, service, elsewhere = os.environ["PORTS"].split()
c.JupyterHub.bind_url = f"http://127.0.0.1:{proxy}"
c.JupyterHub.hub_port = int(hub)
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.command = ["node_modules/.bin/configurable-http-proxy"]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
external = {"name": "external", "url": f"http://127.0.0.1:{elsewhere}", "timeout": 2}
managed = {"name": "managed", "url": f"http://127.0.0.1:{service}", "timeout": 4}
c.JupyterHub.services = [external | {"api_token": "only-for-this-run-only-for-this-run"}]
if os.environ["MANAGED"]:
    c.JupyterHub.services.append(managed | {"command": [sys.executable, "service.py", service]})
PY
cat >main.py <<'PY'
import os
import socket
import subprocess
import sys
import time
import urllib.request

import psutil

EXPECTED = {
    "an external service is missing": {"login page": 200, "exit code": None},
    "a managed service is slow": {
        "login page": 200,
        "exit code": 1,
        "left": ["configurable-http-proxy", "service.py"],
        "service answers": 200,
    },
}


def free_ports(count):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def status(port, path, patience):
    for _ in range(patience * 5):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status
        except OSError:
            time.sleep(0.2)
    return "no answer"


def run(managed):
    ports = free_ports(5)
    environment = os.environ | {"PORTS": " ".join(map(str, ports)), "MANAGED": managed}
    hub = subprocess.Popen(
        [sys.executable, "-m", "jupyterhub"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children = []
    try:
        seen = {"login page": status(ports[0], "/hub/login", 30)}
        deadline = time.monotonic() + 10
        while hub.poll() is None and time.monotonic() < deadline:
            children = psutil.Process(hub.pid).children() or children
            time.sleep(0.1)
        seen["exit code"] = hub.poll()
        if managed:
            names = {"service.py", "configurable-http-proxy"}
            alive = [" ".join(child.cmdline()) for child in children if child.is_running()]
            seen["left"] = sorted(name for name in names if any(name in line for line in alive))
            seen["service answers"] = status(ports[3], "/", 15)
        return seen
    finally:
        if hub.poll() is None:
            hub.terminate()
            hub.wait(20)
        for child in children:
            if child.is_running():
                child.kill()


seen = {
    "an external service is missing": run(managed=""),
    "a managed service is slow": run(managed="yes"),
}
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"jupyterhub behaves differently now; this finding said {EXPECTED}")
PY
timeout 110 venv/bin/python main.py
