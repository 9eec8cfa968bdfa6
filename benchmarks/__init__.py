"""Compare jupyter_wshandler with its peers on this machine: ``python -m benchmarks``."""
