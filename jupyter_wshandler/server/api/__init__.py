"""The extension's REST API."""
