#!/usr/bin/env bash
# configurable-http-proxy 5.3.0 with tornado 6.6.1: behind TLS a page is https and a socket is http.
#
# Guess:  with TLS at JupyterHub's proxy, `request.protocol` behind it (`xheaders=True`) is "https"
#         for a page and for a WebSocket's handshake, which is an HTTP request as well.
# Seen:   the proxy says `X-Forwarded-Proto: https` for the page and `wss` for the socket. Tornado
#         takes "http" and "https" only, ignores the other and stays with what it sees itself: the
#         socket's handshake has come over "http", although the browser's hop was TLS.
# Why:    code that compares Origin with `protocol://host`, asks `protocol == "https"` before it
#         trusts or names a cookie, or builds an address from `full_url()` decides one thing for
#         the page and another for its socket, and only where a real Hub with TLS is in front.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check tornado==6.6.1 trustme==1.2.1
npm install --silent --no-audit --no-fund --prefix "$dir" configurable-http-proxy@5.3.0 >/dev/null
cat >main.py <<'PY'
import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys

import trustme
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

EXPECTED = {"page": ["https", "https"], "socket": ["wss", "http"]}


def told(request):
    return json.dumps([request.headers["X-Forwarded-Proto"], request.protocol])


class Page(RequestHandler):
    def get(self):
        self.write(told(self.request))


class Socket(WebSocketHandler):
    def open(self):
        self.write_message(told(self.request))


async def ask(base):
    context = ssl.create_default_context(cafile="ca.pem")
    page = HTTPRequest(f"https://{base}/page", ssl_options=context, request_timeout=5)
    answer = await AsyncHTTPClient().fetch(page)
    ws = await websocket_connect(HTTPRequest(f"wss://{base}/socket", ssl_options=context))
    message = await asyncio.wait_for(ws.read_message(), 5)
    ws.close()
    return {"page": json.loads(answer.body), "socket": json.loads(message)}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def main():
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path("key.pem")
    leaf.cert_chain_pems[0].write_to_path("cert.pem")
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/page", Page), ("/socket", Socket)]), xheaders=True)
    server.add_sockets(sockets)
    port, target = free_port(), sockets[0].getsockname()[1]
    proxy = subprocess.Popen(
        ["node", "node_modules/configurable-http-proxy/bin/configurable-http-proxy"]
        + ["--ip", "127.0.0.1", "--port", str(port), "--ssl-key", "key.pem"]
        + ["--ssl-cert", "cert.pem", "--api-ip", "127.0.0.1", "--api-port", str(free_port())]
        + ["--default-target", f"http://127.0.0.1:{target}"],
        env=os.environ | {"CONFIGPROXY_AUTH_TOKEN": "only-for-this-run"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(150):
            try:
                seen = await ask(f"localhost:{port}")
                break
            except OSError:
                await asyncio.sleep(0.1)
        else:
            sys.exit("the proxy did not start")
    finally:
        proxy.terminate()
        proxy.wait(10)
    print("seen [X-Forwarded-Proto, request.protocol]:", seen)
    if seen != EXPECTED:
        sys.exit(f"the two behave differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 60 venv/bin/python main.py
