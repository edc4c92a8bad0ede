"""DICOM upper layer and DIMSE services on asyncio (PS3.7, PS3.8).

Read it from the wire up: `wire` (PDUs in place), `commands` (group 0000), `negotiation`
(A-ASSOCIATE), `connection` (one socket), `storing` (C-STORE as SCP), `acceptor` and `server`
(associations we accept), `requestor` and `client` (associations we ask for). Identifiers and
objects are bytes here; nobody in this package looks into them, and none is ever logged.
"""

from __future__ import annotations

from pynetdicom import _config

# pynetdicom prints data sets, names included, as soon as anybody asks it for logs.
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_REQUEST_IDENTIFIERS = False
