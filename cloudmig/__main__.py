"""`python -m cloudmig` is `cloudmig`."""

from __future__ import annotations

from cloudmig.cli.main import run

if __name__ == "__main__":
    run()
