"""What the configuration names and the machine does not have is a mistake in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudmig.bootstrap import open_agent
from cloudmig.config import parse
from cloudmig.errors import ConfigError, DestinationUnavailable
from cloudmig.telemetry import SilentReporter
from tests.integration.migration_world import World, a_study


def a_configuration(tmp_path: Path, **sections: Any) -> dict[str, Any]:  # noqa: ANN401
    pacs = {"archive": "main", "host": "127.0.0.1", "port": 1, "aet": "PACS"}
    return {
        "agent": {"state_dir": str(tmp_path / "state"), **sections.get("agent", {})},
        "listen": sections.get("listen", {}),
        "sources": {"main": {**pacs, **sections.get("source", {})}},
        "destinations": {"archive": {"url": "memory://archive"}},
        "rules": [{"name": "all", "copy_to": ["archive"]}],
    }


@pytest.mark.parametrize("what", ["nothing", "folder", "garbage"])
@pytest.mark.parametrize("section", ["source", "listen"])
async def test_certificates_that_cannot_be_used_are_named(
    section: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage").write_text("no PEM")
    file = str(tmp_path / what)
    tls = {"ca": file, "certificate": file, "key": file}

    with pytest.raises(ConfigError, match="tls: certificate, key or ca") as caught:
        async with open_agent(
            parse(a_configuration(tmp_path, **{section: {"tls": tls}})), SilentReporter()
        ):
            pass
    assert "PEM" in caught.value.hint


@pytest.mark.parametrize("state_dir", ["file", "file/below", "nul\0"])
async def test_a_state_dir_that_is_no_folder_is_a_mistake(state_dir: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = a_configuration(tmp_path, agent={"state_dir": str(tmp_path / state_dir)})

    with pytest.raises(ConfigError, match="state_dir") as caught:
        async with open_agent(parse(told), SilentReporter()):
            pass
    assert caught.value.hint


@pytest.mark.parametrize("home", ["file", "file/below", "n" * 300])
async def test_a_home_that_cannot_be_opened_is_told(home: str, tmp_path: Path) -> None:
    """As a mount is whose server is gone, which only root can make."""
    (tmp_path / "file").touch()
    told = a_configuration(tmp_path)
    told["destinations"]["archive"]["url"] = f"file://{tmp_path / home}"

    with pytest.raises(DestinationUnavailable, match="destination archive: its folder") as caught:
        async with open_agent(parse(told), SilentReporter()):
            pass
    assert "mounted" in caught.value.hint


async def test_a_destination_that_left_the_configuration_is_named_where_it_is_needed(
    tmp_path: Path,
) -> None:
    """It ended `run` and `verify` as a bug. What is only planned there a new plan puts right."""
    homes = {name: {"url": f"file://{tmp_path / name}"} for name in ("first", "second")}
    world = World(tmp_path, [a_study(1)], destinations=homes)

    def leave_only(name: str) -> None:
        world.destinations = {name: homes[name]}
        world.rules = [{"name": "everything", "copy_to": [name]}]
        world.write_configuration()

    with world.serving():
        await world.inventory()
        await world.plan()
        leave_only("first")
        summary = await world.run()
        assert "destinations.second is not configured any more" in summary.halted
        assert "`cloudmig plan` takes out" in summary.hint
        await world.plan()
        assert not (await world.run()).halted
        leave_only("second")
        with pytest.raises(ConfigError, match=r"destinations\.first is not configured any more"):
            await world.verify()


async def test_a_source_that_left_the_configuration_is_not_called_a_home(tmp_path: Path) -> None:
    """A destination of its name is there: nobody is told to give that up."""
    told = a_configuration(tmp_path)
    async with open_agent(parse(told), SilentReporter()) as parts:
        with pytest.raises(ConfigError, match=r"sources\.archive is not configured") as caught:
            parts.destination("archive", "archive")

    assert "put [sources.archive] back" in caught.value.hint
    assert "give-up" not in caught.value.hint
