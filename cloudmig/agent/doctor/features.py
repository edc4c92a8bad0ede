"""What a destination is asked for that a store of its kind has not: a run would end there."""

from __future__ import annotations

from cloudmig.agent.doctor.findings import Finding, problem
from cloudmig.bootstrap.destinations import store_settings
from cloudmig.config import Configuration
from cloudmig.destinations.opening import profile_of
from cloudmig.errors import CloudmigError

__all__ = ["check_features"]


def check_features(config: Configuration, name: str) -> list[Finding]:
    """Hold the settings of a store, and of the rules that copy there, against its profile."""
    destination, subject = config.destinations[name], f"destination {name}"
    if destination.is_dicomweb:
        return []  # What such a store has not is a mistake in the configuration.
    try:
        profile = profile_of(store_settings(destination))
    except CloudmigError as error:
        if destination.directory is None:
            return []  # Whoever opens the store meets it, too, and says so.
        return [problem("profile", subject, str(error), f"Correct it: {error.hint}.")]
    if profile.storage_classes:
        return []
    classes = {f"destinations.{name}.storage_class": destination.storage_class}
    classes |= {
        f'storage_class of the rule "{rule.name}"': rule.storage_class or ""
        for rule in config.rules
        if name in rule.copy_to
    }
    return [
        problem(
            "storage_class",
            subject,
            f"its profile {profile.name} has no storage classes, and {setting} is {wanted}",
            "Remove it; then run `cloudmig plan`, where studies are planned already.",
        )
        for setting, wanted in classes.items()
        if wanted not in {"", "STANDARD"}
    ]
