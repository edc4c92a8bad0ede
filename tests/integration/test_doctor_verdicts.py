"""The doctor asks the verdict queue, takes no message, and says what is wrong with it."""

from __future__ import annotations

from cloudmig.agent.doctor import Verdict
from cloudmig.agent.doctor.verdict_queue import check_verdict_queue
from cloudmig.config import DestinationSettings
from tests.integration.cloud_side import CloudSide
from tests.integration.migration_world import free_port

pytest_plugins = ["tests.contract.store_fixtures"]


def examined(cloud: CloudSide, **changes: object) -> dict[str, tuple[Verdict, str]]:
    settings = DestinationSettings.model_validate(cloud.settings | changes)
    found = check_verdict_queue("archive", settings, timeout_s=3)
    return {each.check: (each.verdict, each.message) for each in found}


def test_a_queue_that_answers_is_well_and_keeps_its_messages(endpoint: str) -> None:
    cloud = CloudSide(endpoint)
    cloud.send("anything")

    [(check, (verdict, message))] = examined(cloud).items()

    assert (check, verdict) == ("verdict queue", Verdict.OK)
    assert "1 messages wait" in message
    assert cloud.waiting() == 1


def test_a_queue_without_dead_letters_is_worth_knowing(endpoint: str) -> None:
    cloud = CloudSide(endpoint)

    found = examined(cloud, verdict_queue=cloud.dead_url)

    assert found["dead letters"][0] is Verdict.WARNING


def test_a_queue_that_is_not_there_is_a_problem(endpoint: str) -> None:
    cloud = CloudSide(endpoint)

    wrong_name = examined(cloud, verdict_queue=f"{cloud.url}-else")
    down = {"verdict_endpoint": f"http://127.0.0.1:{free_port()}"}
    nobody = examined(cloud, **down)

    assert wrong_name["verdict queue"][0] is Verdict.PROBLEM
    assert nobody["verdict queue"][0] is Verdict.PROBLEM
    settings = DestinationSettings.model_validate(cloud.settings | down)
    [found] = check_verdict_queue("archive", settings, timeout_s=3)
    assert "reach it" in found.hint, "no right would help"
