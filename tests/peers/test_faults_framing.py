"""The framing under the fault proxies, against pydicom and pynetdicom, which did not write it."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom import dimse_messages
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from tests.contract.relay import Canned
from tests.peers.faults.http_proxy import HttpRequest, Way
from tests.peers.faults.pdu import (
    C_STORE_RQ,
    C_STORE_RSP,
    Command,
    Fragment,
    fragments,
    p_data,
    study_of,
    with_study,
)
from tests.peers.faults.store_faults import StoreFault, StoreTrouble


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("other", ["1.2.3", "1.2.3.44"])
def test_an_identifier_asks_for_another_study_and_for_nothing_else_new(
    implicit: bool, other: str
) -> None:
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID = "2.25.1234567"
    asked.SeriesInstanceUID = "2.25.89"
    body = encode(asked, implicit, True)
    assert body is not None

    changed = with_study(body, other)

    assert study_of(body) == "2.25.1234567"
    assert study_of(changed) == other
    read = decode(BytesIO(changed), implicit, True)
    asked.StudyInstanceUID = other
    assert read == asked


def test_an_answer_to_a_store_is_one_that_pynetdicom_reads() -> None:
    request = C_STORE()
    request.MessageID = 7
    request.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    request.AffectedSOPInstanceUID = "1.2.3"
    request.Priority = 2
    request.DataSet = BytesIO(b"\0\0")
    message = dimse_messages.C_STORE_RQ()
    message.primitive_to_message(request)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None

    command = Command.decode(encoded)
    answer = command.answered(0xA700).with_status(0xB000)

    assert (command.field, command.sop_instance_uid) == (C_STORE_RQ, "1.2.3")
    assert command.has_data_set
    assert command.encode() == encoded
    read = decode(BytesIO(answer.encode()), True, True)
    assert (read.CommandField, read.Status) == (C_STORE_RSP, 0xB000)
    assert (read.MessageIDBeingRespondedTo, read.AffectedSOPInstanceUID) == (7, "1.2.3")
    assert not answer.has_data_set


def test_values_are_taken_out_of_a_pdu_and_put_into_pdus_of_their_own() -> None:
    first, second = Fragment(1, 3, b"command"), Fragment(1, 2, b"data")
    together = p_data(first)[6:] + p_data(second)[6:]
    pdu = b"\4\0" + len(together).to_bytes(4, "big") + together

    assert list(fragments(pdu)) == [first, second]
    assert list(fragments(p_data(second))) == [second]


def test_a_refusal_lasts_until_the_run_that_met_it_is_over() -> None:
    trouble = StoreTrouble(StoreFault.FORBIDDEN)
    request = HttpRequest("PUT", "v1/a.dcm")
    answers = []
    for command in ("plan", "run", "run"):
        trouble.about_to(command)
        answers.append(trouble.decide(request))

    assert answers == [Way.PASS, Canned(403, "AccessDenied"), Way.PASS]
