"""Print one closing line over several runs of pytest; fail when anything failed.

    closing_line.py REPORTS [FAILED_TARGET ...]

A target that failed without a failing test (a check, an installation, a crash of the runner) counts
as one error. Standard library only: it must run when nothing could be installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

#: Targets that run pytest, and so must leave a report.
WITH_REPORT = ("test", "test-peers", "test-infra")


def main(folder: Path, failed_targets: list[str]) -> int:
    """Count all reports in `folder`, print the line, return the exit code."""
    tests = failures = errors = skipped = 0
    duration_s = 0.0
    blamed = set()
    for target in WITH_REPORT:
        report = folder / f"{target}.xml"
        if not report.is_file():
            continue
        for suite in ET.parse(report).getroot().iter("testsuite"):
            tests += int(suite.get("tests", 0))
            failures += int(suite.get("failures", 0))
            errors += int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
            duration_s += float(suite.get("time", 0))
            if int(suite.get("failures", 0)) + int(suite.get("errors", 0)):
                blamed.add(target)
    unexplained = [target for target in failed_targets if target not in blamed]
    unexplained += [
        f"{target} (no report)"
        for target in WITH_REPORT
        if not (folder / f"{target}.xml").is_file() and target not in failed_targets
    ]
    for target in unexplained:
        print(f"FAILED: make {target}")
    errors += len(unexplained)
    passed = tests - failures - skipped - (errors - len(unexplained))
    counts = [(failures, "failed"), (passed, "passed"), (skipped, "skipped"), (errors, "errors")]
    told = ", ".join(f"{count} {name}" for count, name in counts if count or name == "passed")
    print(f"{told} in {duration_s:.2f}s")
    return 1 if failures or errors or not passed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
