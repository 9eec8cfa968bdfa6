"""The steps of a connection's turns; `receiving.ReceivingHalf` says how they follow each other.

They are functions and no methods of the connection that authors see: each is called for each
message, or for each few, and a method would have to be guarded against a ``handler.end_work = 1``.
"""

from __future__ import annotations

from .connection import Connection

begin_work = Connection._begin_work
next_message = Connection._next_message
context_from = Connection._context_from
end_work = Connection._end_work
take_last_turn = Connection._take_last_turn
