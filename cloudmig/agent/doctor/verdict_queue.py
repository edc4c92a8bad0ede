"""The queue through which the functions answer: can it be asked, and where do dead letters go?"""

from __future__ import annotations

from dataclasses import replace

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.bootstrap.destinations import store_settings
from cloudmig.config import DestinationSettings
from cloudmig.destinations.queue_client import queue_client_maker
from cloudmig.destinations.s3_control import translated
from cloudmig.errors import CloudmigError, DestinationUnavailable

__all__ = ["check_verdict_queue"]

_RIGHTS = (
    "sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:DeleteMessage and"
    " sqs:ChangeMessageVisibility on it"
)


def check_verdict_queue(
    name: str, destination: DestinationSettings, *, timeout_s: float
) -> list[Finding]:
    """Ask for the queue's settings; blocks, so it runs in a thread. No message is taken."""
    subject = f"destination {name}"
    url = destination.verdict_queue
    assert url is not None, "the caller looked"
    settings = replace(
        store_settings(destination), connect_timeout_s=min(destination.connect_s, timeout_s)
    )
    client = queue_client_maker(settings, url, endpoint=destination.verdict_endpoint)()
    try:
        with translated("ask the verdict queue"):
            attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except CloudmigError as error:
        otherwise = (
            "let this machine reach it"
            if isinstance(error, DestinationUnavailable)
            else f"allow this agent {_RIGHTS}"
        )
        hint = f"Correct destinations.{name}.verdict_queue (and verdict_endpoint), or {otherwise}."
        return [problem("verdict queue", subject, str(error), hint)]
    told = attributes.get("Attributes", {})
    waiting = told.get("ApproximateNumberOfMessages", "0")
    found = [ok("verdict queue", subject, f"the verdict queue answers; {waiting} messages wait")]
    if "RedrivePolicy" not in told:
        found.append(
            warning(
                "dead letters",
                subject,
                "the verdict queue has no dead-letter queue: what cannot be read comes for ever",
                "Give it a redrive policy; infra/modules/verification does.",
            )
        )
    return found
