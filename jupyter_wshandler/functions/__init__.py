"""From a name to a function, and again when its file changes."""
