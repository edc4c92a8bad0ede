"""The doctor: names every problem at once, each with a hint that fixes it."""

from __future__ import annotations

from cloudmig.agent.doctor.examining import examine
from cloudmig.agent.doctor.findings import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
