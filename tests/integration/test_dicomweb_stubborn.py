"""What a store never takes is named in the end, and holds nothing else back."""

from __future__ import annotations

import pytest

from cloudmig.errors import DestinationUnavailable
from cloudmig.model.outcome import Refused, Stored
from tests.contract.destination_contract import bytes_of
from tests.contract.stow_server import Answer
from tests.integration.dicomweb_world import a_study_of, open_web, outcomes_of


@pytest.mark.parametrize("profile", ["plain", "orthanc", "dcm4chee"])
async def test_the_same_uid_in_another_series_is_another_object(profile: str) -> None:
    """Some modalities give one SOP Instance UID to objects in two series of a study."""
    [item] = a_study_of(1)
    assert item.instance is not None
    key = item.instance.study_instance_uid, item.instance.sop_instance_uid
    async with open_web(profile=profile) as web:
        web.server.in_another_series[key] = "1.2.9"

        [outcome] = outcomes_of(await web.store_all([item]))

        assert web.held(item) == bytes_of(item)
        assert len(web.server.sent) == 1
    assert isinstance(outcome, Stored)


@pytest.mark.parametrize("profile", ["plain", "dcm4chee"])
async def test_where_a_store_keeps_one_of_two_series_the_other_is_refused(profile: str) -> None:
    """It names the second as stored, too, lists the first, and gives out none under our path."""
    bad, *others = a_study_of(6)
    assert bad.instance is not None
    key = bad.instance.study_instance_uid, bad.instance.sop_instance_uid
    results = []
    async with open_web(profile=profile) as web:
        web.server.in_another_series[key] = "1.2.9"
        for other in others:
            web.server.script = [Answer(200, keeps=0, says_stored=True)]
            results += await web.store_all([bad])
            outcomes_of(await web.store_all([other]))

    assert [type(each) for each in results] == [DestinationUnavailable] * 4 + [Refused]
