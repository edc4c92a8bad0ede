"""The catalog as everyone else sees it: one class, one transaction per method."""

from __future__ import annotations

from cloudmig.catalog.closing import ClosingCalls
from cloudmig.catalog.cloud_verdicts import CloudVerdictCalls
from cloudmig.catalog.copying import CopyingCalls
from cloudmig.catalog.giving_up import GivingUpCalls
from cloudmig.catalog.inventory import InventoryCalls
from cloudmig.catalog.planning import PlanningCalls
from cloudmig.catalog.sampling import SamplingCalls
from cloudmig.catalog.side_by_side import SideBySideCalls
from cloudmig.catalog.standing import StandingCalls
from cloudmig.catalog.work import WorkCalls

__all__ = ["Catalog"]


class Catalog(
    InventoryCalls,
    PlanningCalls,
    WorkCalls,
    CloudVerdictCalls,
    CopyingCalls,
    GivingUpCalls,
    ClosingCalls,
    SideBySideCalls,
    StandingCalls,
    SamplingCalls,
):
    """What exists, what is planned, what happened.

    Safe to use from several threads. Every public method is one transaction, `record_plan` one
    for every thousand decisions. Raises `CatalogError` when the database cannot be trusted or
    written, `LeaseLost` when a worker comes late.
    """
