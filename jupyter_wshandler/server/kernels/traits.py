"""What an administrator may say about bots in kernels."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, HasTraits, Integer, List, TraitError, Unicode, validate

from ...kernels.details import why_not_header


class KernelTraits(HasTraits):
    """What an administrator may say about bots in kernels."""

    kernel_routes_limit = Integer(
        200,
        min=1,
        help="""Routes that the bots of one kernel may serve; one more is refused in its cell.""",
    ).tag(config=True)

    kernel_headers = List(
        Unicode(),
        help="""Header fields of a visitor's request that bots in kernels see beside the harmless
        ones, by name. Those that may prove an identity (Cookie, Authorization, ...) cannot be
        named.""",
    ).tag(config=True)

    kernel_pipes = Bool(
        True,
        help="""Let the bots of a kernel on this machine speak to the server on a Unix socket of
        their own, some ten times faster than on Jupyter's channels. It is in a folder of the
        system's for temporary files that only the server's user may enter, and gone as soon as the
        kernel has come in.""",
    ).tag(config=True)

    @validate("kernel_headers")
    def _check_kernel_headers(self, proposal: Any) -> list[str]:
        for name in proposal["value"]:
            reason = why_not_header(name)
            if reason is not None:
                raise TraitError(f"The 'kernel_headers' trait: {reason}")
        return list(proposal["value"])
