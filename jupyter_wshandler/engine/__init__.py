"""The WebSocket engine: handshake checks, RFC 6455, RFC 7692, and the carriers of bytes.

`handshake`, `protocol` and `deflate` do no I/O: bytes and headers in, events and bytes out.
`direct` and `stream` carry the bytes.
"""
