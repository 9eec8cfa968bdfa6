"""The sockets to the kernels of this server."""
