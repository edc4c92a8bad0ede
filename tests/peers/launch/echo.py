"""Ask a PACS whether it is there: one C-ECHO (PS3.4 annex A), with or without TLS."""

from __future__ import annotations

import logging
import ssl

from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket

__all__ = ["echo"]

# The default handlers double the cost of an association, and print what they see.
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

_shut_down = AssociationSocket._shutdown_socket


def _shut_down_and_close(held: AssociationSocket) -> None:
    """Close what pynetdicom forgets where the connection or the TLS handshake failed.

    The garbage collector would complain, in whichever test runs by then.
    """
    left = held.socket
    _shut_down(held)
    if left is not None:
        left.close()


AssociationSocket._shutdown_socket = _shut_down_and_close  # type: ignore[method-assign]


def echo(
    host: str,
    port: int,
    called_aet: str,
    *,
    calling_aet: str = "PROBE",
    tls: ssl.SSLContext | None = None,
) -> bool:
    """Say whether a C-ECHO was answered with success."""
    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.connection_timeout = 5
    entity.add_requested_context(Verification)
    association = entity.associate(
        host, port, ae_title=called_aet, tls_args=(tls, host) if tls else None
    )
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status) and status.Status == 0
