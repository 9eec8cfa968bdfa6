"""Tries a client of `wsh.v1` against a real server; see `docs/protocol.md`."""
