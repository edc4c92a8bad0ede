"""A file URL names one folder, for whoever asks: source, destination, doctor and the first file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.config import load
from cloudmig.config.addresses import folder_of, folder_url
from cloudmig.config.sources import DirectorySettings
from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.errors import ConfigError

CONFIG = """
[agent]
name = "folders"
state_dir = "state"
[sources.main]
archive = "main"
url = "{source}"
[destinations.store]
url = "{destination}"
[[rules]]
name = "everything"
copy_to = ["store"]
"""


@pytest.mark.parametrize(("url", "folder"), [
    ("file:///srv/images", "/srv/images"), ("file:///srv/My%20Images", "/srv/My Images"),
    ("file:///srv/My Images", "/srv/My Images"), ("file:///srv/a#b?c", "/srv/a#b?c"),
    ("file:///srv/100%25", "/srv/100%"), ("file:///srv/B%C3%BCro", "/srv/B\u00fcro"),
])  # fmt: skip
def test_what_a_file_url_names(url: str, folder: str) -> None:
    assert folder_of(url) == Path(folder)
    assert folder_of(folder_url(Path(folder))) == Path(folder)


@pytest.mark.parametrize(
    "url",
    ["file:/srv/images", "file:images", "FILE:///srv", "file://localhost/srv", "file:///srv/%00"],
)
def test_a_file_url_that_would_name_another_folder_is_a_mistake(url: str, tmp_path: Path) -> None:
    """All of these were folders beside the configuration: `./file:/srv/images`."""
    file = tmp_path / "cloudmig.toml"
    file.write_text(CONFIG.format(source=url, destination=url), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert "sources.main.url must " in str(caught.value)
    assert "destinations.store.url must name a folder like file:///" in str(caught.value)


@pytest.mark.parametrize("name", ["My Images", "a#b?c", "100%", "%41"])
async def test_a_configuration_and_a_store_mean_the_same_folder(name: str, tmp_path: Path) -> None:
    """Beside a configuration that lies in such a folder itself."""
    here = tmp_path / name
    here.mkdir()
    url = folder_url(Path(name))
    file = here / "cloudmig.toml"
    file.write_text(CONFIG.format(source=f"{url}/in", destination=f"{url}/out"), encoding="utf-8")

    config = load(file)

    source, settings = config.sources["main"], config.destinations["store"]
    assert isinstance(source, DirectorySettings)
    assert source.directory == here / name / "in"
    assert settings.directory == here / name / "out"
    store = open_object_store("store", StoreSettings(url=settings.url), archive="main")
    assert await store.put_evidence("v1/main/a.json", b"{}")
    store.close()
    assert (here / name / "out" / "v1" / "main" / "a.json").read_bytes() == b"{}"
