"""`cloudmig doctor`: name every problem at once, each with a hint that fixes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    ExitCode,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    end,
)

if TYPE_CHECKING:
    from cloudmig.agent.doctor import Finding

__all__ = ["doctor"]

_TICKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


def doctor(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Look at PACS, buckets, catalog and this machine, and name every problem at once.

    Each problem has a hint that fixes it. Nothing is left behind: one small study is found and one
    instance of it pulled into memory, and probe objects are deleted. Warnings do not fail.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    findings = invocation.run(lambda: _examine(invocation))
    problems = [finding for finding in findings if finding.verdict.value == "problem"]
    invocation.answer(
        {"healthy": not problems, "findings": [_document(finding) for finding in findings]}
    )
    if not invocation.json:
        _show(invocation, findings)
    if problems:
        end(ExitCode.CONFIGURATION)


async def _examine(invocation: Invocation) -> list[Finding]:
    from cloudmig.agent.doctor import examine  # noqa: PLC0415 - `--help` shall be quick

    return await examine(invocation.configuration())


def _document(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "subject": finding.subject,
        "verdict": finding.verdict.value,
        "message": finding.message,
        "hint": finding.hint,
    }


def _show(invocation: Invocation, findings: list[Finding]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    subject = ""
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            invocation.say(f"[bold]{escape(subject)}[/]", markup=True)
        invocation.say(f"  {_TICKS[finding.verdict.value]} {escape(finding.message)}", markup=True)
        if finding.hint:
            invocation.say(f"      → {finding.hint}")
    count = {name: sum(f.verdict.value == name for f in findings) for name in _TICKS}
    invocation.say()
    warnings = count_words(count["warning"], "warning")
    passed = f"{count_words(count['ok'], 'check')} passed"
    if count["problem"]:
        problems = count_words(count["problem"], "problem")
        invocation.say(
            f"{problems}, {warnings}, {passed}. Follow the arrows, then run cloudmig doctor again."
        )
    else:
        invocation.say(f"Healthy: {passed}, {warnings}. Next: cloudmig inventory")
