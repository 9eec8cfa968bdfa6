"""Callbacks that live in a Jupyter kernel: the server's side of the bridge, and its language."""
