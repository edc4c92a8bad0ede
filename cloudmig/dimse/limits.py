"""How long anything may take and how much of it there may be, in `dimse/`.

Nothing here waits without an end and nothing grows without one: a peer that stalls, dribbles or
never stops sending meets one of these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "Timers"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """The waits of one association, in seconds."""

    connect_s: float = 10.0  #: TCP connection, name resolution included.
    tls_handshake_s: float = 10.0  #: From the TCP connection to the end of the handshake.
    artim_s: float = 15.0  #: For an association request, its answer, its end (PS3.8 9.1.5).
    admit_s: float = 20.0  #: How long our policy may think about an association request.
    network_s: float = 60.0  #: Silence in the middle of a message.
    idle_s: float = 300.0  #: Silence between two messages of an association we accepted.
    answer_s: float = 300.0  #: For the next answer; fed by pending answers, bytes and `touch()`.
    total_s: float = 24 * 3600.0  #: One operation from its request to its final answer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The sizes and counts of one server or association."""

    pdu_bytes_max: int = 128 * KIB  #: What we announce; DCMTK takes no more.
    data_pdu_bytes_max: int = 64 * MIB  #: What we bear: P-DATA is passed on in pieces anyway.
    associate_pdu_bytes_max: int = 512 * KIB  #: Held whole; 128 contexts of 40 syntaxes fit.
    buffer_bytes: int = 256 * KIB  #: One read at most; all an association holds of an object.
    command_bytes_max: int = 16 * KIB
    identifier_bytes_max: int = 4 * MIB
    object_bytes_max: int = 8 * 1024 * MIB
    answers_waiting_max: int = 256  #: C-FIND answers nobody has taken; then reading stops.
    associations_max: int = 64
    associations_per_peer_max: int = 64
    silent_connections_max: int = 256  #: Without an association; the oldest makes room.
