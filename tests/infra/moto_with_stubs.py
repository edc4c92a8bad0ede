"""A moto server of its own process, with what Terraform asks for and moto lacks.

Prints its address and serves until its standard input is closed: whoever started it has died then.
moto 5.2 lacks two calls that the provider makes for a state machine. The stubs answer what AWS
answers for a valid machine, so a broken machine passes here: cfn-lint looks at it instead.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from moto.core.responses import ActionResult
from moto.server import ThreadedMotoServer
from moto.stepfunctions.responses import StepFunctionResponse


def _validate_state_machine_definition(_self: StepFunctionResponse) -> ActionResult:
    return ActionResult({"result": "OK", "diagnostics": [], "truncated": False})


def _list_state_machine_versions(_self: StepFunctionResponse) -> ActionResult:
    return ActionResult({"stateMachineVersions": []})


def main() -> None:
    """Serve on a free port of the loopback interface."""
    patched: Any = StepFunctionResponse
    patched.validate_state_machine_definition = _validate_state_machine_definition
    patched.list_state_machine_versions = _list_state_machine_versions
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
