"""The WebSocket engine: handshake checks, RFC 6455, RFC 7692, without any input or output.

Bytes and header fields go in, events and bytes come out; what carries them is in `transports`.
"""
