"""Runs a function from its unzipped artifact under AWS's runtime interface emulator.

    with Emulator(binary, artifact, "verify_object", environment) as function:
        answer = function.invoke({"Records": [...]})

The function sees its artifact, the standard library and awslambdaric; nothing of this checkout
and nothing of what is installed beside it. Like in the cloud it cannot keep compiled modules, and
one sandbox works at one event at a time. The emulator enforces the timeout; memory is limited by
the kernel (RLIMIT_DATA).
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.migration_world import free_port

_START_MAX_S = 20.0
_INVOKE_MAX_S = 90.0
_INVOKE_PATH = "/2015-03-31/functions/function/invocations"
#: What awslambdaric is and imports: the runtime's own part, which no artifact holds.
_RUNTIME = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


class FunctionFailed(Exception):  # noqa: N818 - named for what happened
    """The function raised, ran out of time or out of memory."""


def runtime_folder(into: Path) -> Path:
    """Make a folder with awslambdaric and nothing else."""
    into.mkdir()
    for name in _RUNTIME:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (into / source.name).symlink_to(source)
    return into


class Emulator:
    """One sandbox of one function."""

    def __init__(
        self,
        binary: Path,
        artifact: Path,
        runtime: Path,
        function: str,
        environment: Mapping[str, str],
        *,
        log: Path,
        timeout_s: int = 60,
        memory_bytes: int = 512 << 20,
    ) -> None:
        self.function = function
        self._command = (
            str(binary), "--runtime-interface-emulator-address", "127.0.0.1:{port}",
            "--runtime-api-address", "127.0.0.1:{api_port}",
            # The bound is the function's: the emulator itself may have more.
            "/bin/sh", "-c", f'ulimit -d {memory_bytes >> 10} && exec "$@"', "sh",
            *python_command(), "-m", "awslambdaric", "handler.handle",
        )  # fmt: skip
        self._environment = {
            **sandbox_environment(artifact, runtime),
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_bytes >> 20),
            "AWS_SDK_UA_APP_ID": function,  # Requests say whose they are.
            **environment,
        }
        self._artifact = artifact
        self._log = log
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._port, api_port = free_port(), free_port()
        command = [
            each.replace("{port}", str(self._port)).replace("{api_port}", str(api_port))
            for each in self._command
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self._artifact, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._await_port()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        # The runtime is in a process group of its own: the emulator ends it when told to.
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the function's answer. Raises `FunctionFailed`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_INVOKE_MAX_S)
        try:
            connection.request("POST", _INVOKE_PATH, json.dumps(event))
            body = connection.getresponse().read()
        finally:
            connection.close()
        try:
            answer: dict[str, Any] = json.loads(body)
        except ValueError:
            # Running out of time is told in plain text, an end of the process not at all.
            raise FunctionFailed(body.decode(errors="replace") or "no answer") from None
        if "errorType" in answer:
            raise FunctionFailed(f"{answer['errorType']}: {answer.get('errorMessage')}")
        return answer

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def init_s(self) -> float:
        """Return how long the last start of the runtime took, handler's imports included."""
        return float(re.findall(r"INIT REPORT\(durationMs: ([0-9.]+)", self.log())[-1]) / 1000

    def billed_s(self) -> float:
        """Return how long all invocations took, as the emulator's reports say."""
        found = re.findall(r"REPORT RequestId.*Billed Duration: ([0-9.]+) ms", self.log())
        return sum(float(each) for each in found) / 1000

    def _await_port(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_MAX_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)  # An outside process says nowhere that it listens.
            else:
                return


def python_command() -> list[str]:
    """Return a Python that sees the standard library and PYTHONPATH, no installed package."""
    return [sys.executable, "-S", "-s"]


def sandbox_environment(artifact: Path, runtime: Path) -> dict[str, str]:
    """Return the environment that every function starts from: none of ours."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": os.pathsep.join((str(artifact), str(runtime))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(artifact),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
