"""Run the command line with ``python -m jupyter_wshandler``."""

import sys

from .cli import main

sys.exit(main())
