"""The ipykernel that this process is, or why it is none."""

from __future__ import annotations

import sys
from typing import Any

_OF_IPYKERNEL = ("session", "iopub_socket", "get_parent", "_publish_status")
"""What the bridge uses of a kernel."""


def kernel_at_hand() -> tuple[Any, Any]:
    """Return this process's ipykernel and IPython shell.

    Raises:
        RuntimeError: It is no Jupyter kernel, or one of another kind.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        raise RuntimeError(
            "wsh.serve() makes bots of a Jupyter kernel (ipykernel), and this process is none; "
            "outside a notebook, name the functions in a file for `jupyter wshandler serve`, or "
            "try them with jupyter_wshandler.testing.Chat"
        )
    # Others look like it, and have no thread beside the cells, or no way to what ipykernel sends.
    comms = getattr(kernel, "comm_manager", None)
    if not hasattr(comms, "comms") or not all(hasattr(kernel, name) for name in _OF_IPYKERNEL):
        module = type(shell).__module__.partition(".")[0]
        name = {"xeus_python_shell": "xeus-python"}.get(module, module)
        raise RuntimeError(
            f"the bots of a notebook live in ipykernel, and this kernel is another one ({name}); "
            "choose a kernel such as `Python 3 (ipykernel)`, name the functions in a file for "
            "`jupyter wshandler serve`, or try them here with jupyter_wshandler.testing.Chat"
        )
    return kernel, shell
