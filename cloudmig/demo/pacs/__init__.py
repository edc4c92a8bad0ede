"""A scripted legacy PACS: Query/Retrieve SCP of the Study Root model that misbehaves on demand.

    with ScriptedPacs(studies, Script(study_limit=20), destinations={"CLOUDMIG": address}) as pacs:
        ...  # pacs.host, pacs.port, pacs.aet; pacs.truth(), pacs.counters

As a process of its own: `python -m cloudmig.demo.pacs --port 11112 --studies 60`.
"""

from __future__ import annotations

from cloudmig.demo.pacs.counters import Counters
from cloudmig.demo.pacs.holdings import Held
from cloudmig.demo.pacs.script import Fault, Script
from cloudmig.demo.pacs.server import ScriptedPacs

__all__ = ["Counters", "Fault", "Held", "Script", "ScriptedPacs"]
