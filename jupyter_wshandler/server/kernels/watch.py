"""The kernels of this server: which there are, and those of them that have bots.

A kernel says on iopub, under a topic of ours, that it has bots. Only then does the server open a
comm to it, on a subshell where there is one, so that a kernel without bots costs one subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ...kernels.bridge import KernelBridge
from ...kernels.filtered import FilteredKernels
from ...kernels.routes import KernelRoutes
from ...kernels.shares import Sharing
from ...manager.manager import WebSocketManager
from .wire import GONE, KernelWire

KERNEL_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

TICK = 1.0
"""Seconds between two looks at the clock."""


class KernelWatch:
    """The ways to the kernels of this server, one to each that has bots.

    Args:
        serverapp: Jupyter's server application.
        manager: Owns the connections.
        routes: The routes of kernels.
        patience: Seconds that a message waits for a kernel that does not answer.
        sharing: Shares the routes of kernels; None where nobody does.
        pipes: Whether kernels of this machine may speak to the server on a socket of their own.
    """

    def __init__(
        self,
        serverapp: Any,
        manager: WebSocketManager,
        routes: KernelRoutes,
        patience: float,
        sharing: Sharing | None = None,
        *,
        pipes: bool = True,
    ) -> None:
        self.offers_pipes = pipes
        self._kernels: Any = serverapp.kernel_manager
        self._events: Any = serverapp.event_logger
        self._manager = manager
        self._routes = routes
        self._patience = patience
        self._sharing = sharing
        self._wires: dict[str, KernelWire] = {}
        self._clock: asyncio.Task[None] | None = None
        self._filtered: FilteredKernels | None = None

    def start(self) -> None:
        """Begin with the kernels that run, and follow those that come and go."""
        self._manager.served.displaced = self._routes.displaced
        if self._routes.filters is not None:
            self._filtered = FilteredKernels(asyncio.get_running_loop())
            self._manager.observers.add(self._filtered)
        # Who listens must know the schema, which else is registered when the first kernel starts.
        with contextlib.suppress(Exception):
            from jupyter_server import DEFAULT_EVENTS_SCHEMA_PATH

            self._events.register_event_schema(
                DEFAULT_EVENTS_SCHEMA_PATH / "kernel_actions" / "v1.yaml"
            )
        self._events.add_listener(schema_id=KERNEL_ACTIONS, listener=self._happened)
        for kernel_id in self._kernels.list_kernel_ids():
            self._attach(kernel_id, look=True)
        self._clock = asyncio.get_running_loop().create_task(self._run(), name="wshandler kernels")

    async def stop(self) -> None:
        """Let go of every kernel; the kernels run on."""
        self._events.remove_listener(schema_id=KERNEL_ACTIONS, listener=self._happened)
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait([self._clock])
        for kernel_id in tuple(self._wires):
            await self._detach(kernel_id, "the server is stopping")
        if self._filtered is not None:
            await self._filtered.stop()

    async def _happened(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        kernel_id, action = data.get("kernel_id"), data["action"]
        if kernel_id is None or data["status"] != "success":
            return
        if action in ("start", "restart", "shutdown"):
            await self._detach(kernel_id, GONE)
        if action in ("start", "restart"):
            self._attach(kernel_id)

    def _attach(self, kernel_id: str, *, look: bool = False) -> None:
        try:
            kernel = self._kernels.get_kernel(kernel_id)
            spec = kernel.kernel_spec
            if kernel_id in self._wires or not _is_ipykernel(spec):
                return
            wire = KernelWire(self, kernel_id, kernel, look)
        except Exception as error:
            # A kernel behind a gateway has no sockets here; whatever it is, the server goes on.
            self._manager.log.info(
                "Bots of kernel %s are not served: %s: %s", kernel_id, type(error).__name__, error
            )
            return
        self._wires[kernel_id] = wire

    async def _detach(self, kernel_id: str, reason: str) -> None:
        wire = self._wires.pop(kernel_id, None)
        if wire is not None:
            await wire.close(reason)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            for wire in tuple(self._wires.values()):
                try:
                    wire.tick()
                except Exception:
                    # What is wrong with one kernel must not cost the others their clock.
                    self.log.exception("Kernel %s could not be looked at", wire.kernel_id)

    def bridge(self, wire: KernelWire) -> KernelBridge:
        """Return a bridge for a kernel that has bots."""
        return KernelBridge(
            self._manager,
            self._routes,
            wire.kernel_id,
            wire.transmit,
            patience=self._patience,
            lost=wire.lost,
            pack=wire.pack,
            sharing=self._sharing,
        )

    def bridges(self) -> list[KernelBridge]:
        """Return the bridges to all kernels that have bots."""
        return [wire.bridge for wire in self._wires.values() if wire.bridge is not None]

    @property
    def spares_connected(self) -> bool:
        """Whether the culler of idle kernels leaves alone those that somebody is connected to."""
        return not getattr(self._kernels, "cull_connected", False)

    @property
    def log(self) -> Any:
        """Where lines go."""
        return self._manager.log


def _is_ipykernel(spec: Any) -> bool:
    """Return whether a specification is of an ipykernel, whatever its language is called."""
    language = str(getattr(spec, "language", "")).lower()
    return language.startswith("python") or any("ipykernel" in str(word) for word in spec.argv)
