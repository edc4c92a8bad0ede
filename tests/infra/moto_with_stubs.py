"""A moto server of its own process, with what Terraform asks for and moto lacks.

Prints its address and serves until its standard input is closed: whoever started it has died then.
moto 5.2 lacks two calls that the provider makes for a state machine. The stubs answer what AWS
answers for a valid machine, so a broken machine passes here: cfn-lint looks at it instead.

moto takes every condition of a bucket policy for fulfilled, so "refuse what does not come by TLS"
would refuse everything. Statements with a condition are left out of its judgement; the tests read
their text.

Where IAM is switched on, moto asks for a right to a batch of messages, which AWS does not know: it
asks for the right to one.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, IAMRequest, IAMRequestBase, PermissionResult
from moto.s3.models import FakeBucket
from moto.server import ThreadedMotoServer
from moto.stepfunctions.responses import StepFunctionResponse


def _validate_state_machine_definition(_self: StepFunctionResponse) -> ActionResult:
    return ActionResult({"result": "OK", "diagnostics": [], "truncated": False})


def _list_state_machine_versions(_self: StepFunctionResponse) -> ActionResult:
    return ActionResult({"stateMachineVersions": []})


def _get_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    policy["Statement"] = [each for each in policy["Statement"] if "Condition" not in each]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)


def _check_action_permitted(request: IAMRequest, resource: str) -> None:
    if request._action.startswith("sqs:"):
        request._action = request._action.removesuffix("Batch")
    IAMRequestBase.check_action_permitted(request, resource)


def main() -> None:
    """Serve on a free port of the loopback interface."""
    patched: Any = StepFunctionResponse
    patched.validate_state_machine_definition = _validate_state_machine_definition
    patched.list_state_machine_versions = _list_state_machine_versions
    patched = FakeBucket
    patched.get_permission = _get_permission
    patched = IAMRequest
    patched.check_action_permitted = _check_action_permitted
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
