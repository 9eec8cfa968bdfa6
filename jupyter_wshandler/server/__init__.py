"""The Jupyter Server extension: the only part, with the command line, that knows Tornado's web."""
