#!/usr/bin/env bash
# redis-py 5.2.1 and 6.0.0: what a plain connection makes of MOVED.
#
# Guess:  a server of a cluster that is asked for another one's key answers MOVED, and redis-py raises
#         its MovedError for that on any connection, in all versions that have the class.
# Seen:   5.2.1 raises a plain ResponseError whose text is "MOVED 3999 127.0.0.1:6381"; only its client
#         for clusters knows the class. 6.0.0 raises MovedError, and the word is gone from the text. The
#         same holds for ASK, TRYAGAIN and CLUSTERDOWN.
# Why:    who supports both can rely neither on the class nor on the text: `except MovedError` is never
#         reached with the one, and `"MOVED" in str(error)` is never true with the other.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
for version in 5.2.1 6.0.0; do
  venv/bin/python -m pip --quiet --disable-pip-version-check install --target "$version" "redis==$version"
done
cat >main.py <<'PYTHON'
import socket
import threading

import redis
from redis.exceptions import MovedError, ResponseError

server = socket.create_server(("127.0.0.1", 0))


def serve():
    """Answer GET as a server of a cluster that has another slot, and anything else with OK."""
    sock, _ = server.accept()
    stream = sock.makefile("rb")
    while line := stream.readline():
        words = []
        for _ in range(int(line[1:])):
            size = int(stream.readline()[1:])
            words.append(stream.read(size + 2)[:-2])
        sock.sendall(b"-MOVED 3999 127.0.0.1:6381\r\n" if words[0] == b"GET" else b"+OK\r\n")


threading.Thread(target=serve, daemon=True).start()
client = redis.Redis(port=server.getsockname()[1])
try:
    client.get("key")
except ResponseError as error:
    print(f"redis-py {redis.__version__}: {type(error).__name__}: {error}")
    old = redis.__version__ == "5.2.1"
    assert isinstance(error, MovedError) is not old, type(error)
    assert str(error) == ("MOVED " if old else "") + "3999 127.0.0.1:6381", error
else:
    raise SystemExit("nothing was raised")
PYTHON
for version in 5.2.1 6.0.0; do
  PYTHONPATH="$dir/$version" venv/bin/python main.py
done
