"""What a C-GET proposes: nothing that would tempt a sender to wrap what it holds."""

from __future__ import annotations

from cloudmig.dimse.contexts import STORAGE_SOP_CLASS_UIDS
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dimse.asking import get_questions

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def _proposed(*, sop_class_uid: str, transfer_syntax_uid: str | None = None) -> set[str]:
    instance = ExpectedInstance(InstanceRef("1.2", "1.2.3", "1.2.3.4"), sop_class_uid)
    request = RetrieveRequest(
        StudyRef("1.2"),
        {"1.2.3.4": instance},
        narrow=transfer_syntax_uid is not None,
        transfer_syntax_uid=transfer_syntax_uid,
    )
    [question] = get_questions(request, [CT])
    return {
        uid
        for context in question.contexts
        if context.scp_role
        for uid in context.transfer_syntax_uids
    }


def test_a_study_is_not_asked_for_in_what_any_data_set_can_be_wrapped_in() -> None:
    """PixelMed sent 2,320 of 2,321 instances deflated, and filled up a truncated one."""
    for sop_class_uid in (CT, ""):  # Some PACS do not say which class an instance is of.
        proposed = _proposed(sop_class_uid=sop_class_uid)

        assert {EXPLICIT, IMPLICIT} <= proposed
        assert not proposed & {DEFLATED, ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES}


def test_what_was_missing_is_asked_for_in_them_alone() -> None:
    assert _proposed(sop_class_uid=CT, transfer_syntax_uid=DEFLATED) == {DEFLATED}


def test_where_classes_are_unnamed_explicit_vr_is_not_asked_for_without_implicit_beside_it() -> (
    None
):
    """pynetdicom's qrscp names no SOP classes, and turned explicit VR into implicit."""
    instance = ExpectedInstance(InstanceRef("1.2", "1.2.3", "1.2.3.4"), "")
    request = RetrieveRequest(
        StudyRef("1.2"), {"1.2.3.4": instance}, narrow=True, transfer_syntax_uid=EXPLICIT
    )

    proposed = [
        [
            (context.abstract_syntax_uid, *context.transfer_syntax_uids)
            for context in question.contexts
            if context.scp_role
        ]
        for question in get_questions(request, [])
    ]

    for together in proposed:
        assert {each[0] for each in together if EXPLICIT in each} == {
            each[0] for each in together if IMPLICIT in each
        }
    assert {each[0] for together in proposed for each in together} >= set(STORAGE_SOP_CLASS_UIDS)
