"""How the scripted PACS misbehaves: one frozen value, every habit off unless it is asked for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Fault", "Script"]


class Fault(Enum):
    """What goes wrong in a retrieve; for how many of them, `Script.fault_retrieves` says."""

    BUSY = "busy"  #: Status A702 at once: out of resources.
    HANG = "hang"  #: Silence for `hang_s` before store number `fault_at_store`, then it goes on.
    ABORT = "abort"  #: A-ABORT on every association at store number `fault_at_store`.
    ABORT_STORES = "abort_stores"  #: The store association alone is aborted; the rest has failed.
    WRONG_STUDY = "wrong_study"  #: The instances of another study come, and count as completed.
    NOTHING = "nothing"  #: Success, nothing sent, nothing counted.
    NOTHING_COUNTED = "nothing_counted"  #: Success, nothing sent, everything counted as completed.
    ENDLESS_STORE = "endless_store"  #: A data set that has no end, up to `endless_bytes_max`.
    FAILURE = "failure"  #: Status C000: unable to process.


@dataclass(frozen=True, slots=True)
class Script:
    """The habits of one PACS. The default is a well-behaved one.

    Sets name SOP Instance UIDs. What an archive holds (conflicts, poison, two patients, empty
    studies) is in `cloudmig.demo.oddities`.
    """

    # Queries
    study_limit: int | None = None  #: A STUDY answer ends here without a word, or see below.
    image_limit: int | None = None  #: The same at IMAGE level.
    limit_is_refused: bool = False  #: Over the limit: status A700 and no matches at all.
    answers_twice: bool = False  #: Every match comes two times.
    optional_counts: bool = True  #: Numbers of instances, modalities in study, SOP classes.
    counts_are_zero: bool = False  #: Numbers of instances are there, and all of them 0.
    sop_classes: bool = True  #: The SOP Class UID of an instance, at IMAGE level.
    image_find: bool = True  #: False: an IMAGE-level query has status A900.
    ignores_dates: bool = False  #: Study dates and times are no criteria.
    ignores_optional_keys: bool = False  #: Only the required keys of PS3.4 C.6.2.1.2 are.
    ignores_unique_keys: bool = False  #: All series, all instances, of whichever was asked for.
    character_set_told: bool = True  #: False: (0008,0005) only comes back when it was asked for.

    # Retrieves, always
    missing: frozenset[str] = frozenset()  #: Listed and never sent.
    missing_counted: str = "failed"  #: Or "completed": the PACS claims to have sent them.
    changing: frozenset[str] = frozenset()  #: Another content each time they are sent.
    reencoded: frozenset[str] = frozenset()  #: Each second time: equal elements, other bytes.
    torn: frozenset[str] = frozenset()  #: Sent without their last bytes,
    torn_times: int = 9999  #: so many times; whole after that.
    #: In C-GET it accepts this transfer syntax, too, and sends what it holds under its name.
    mislabels: str = ""
    misnamed: frozenset[str] = frozenset()  #: The command names another instance than the data set.
    new_uids: bool = False  #: New SOP Instance UIDs in every retrieve.
    final_status_only: bool = False  #: No pending responses.
    counts_in_retrieve: bool = True  #: False: no numbers of sub-operations.
    uid_lists: str = ""  #: "refused", status C000; or "no match", as for a UID nobody has.
    final_before_last_store: bool = False  #: The answer comes first, the last instance after it.

    # Retrieves, the first few
    fault: Fault | None = None
    fault_retrieves: int = 1  #: The first retrieves have the fault, later ones have not.
    fault_studies: frozenset[str] = frozenset()  #: Only these Study Instance UIDs; empty: all.
    fault_at_store: int = 3
    hang_s: float = 5.0
    endless_bytes_max: int = 1 << 30
    last_store_delay_s: float = 0.2  #: For `final_before_last_store`.
    last_store_counted: bool = True  #: For the same: that answer counts the last instance, too.

    # Associations
    calls_us: str = ""  #: What it calls the destination of a C-MOVE, where not by its AE title.
    callers: frozenset[str] = frozenset()  #: AE titles let in; empty: everybody.
    associations_max: int | None = None  #: One more is rejected as "local limit exceeded".
    one_operation: bool = False  #: It ends each association after its first query or retrieve.
    contexts_max: int | None = None  #: At more than these it accepts, and falls over.
    get_allowed: bool = True  #: False: C-GET contexts are turned down.
    move_allowed: bool = True

    def __post_init__(self) -> None:
        if self.missing_counted not in {"failed", "completed"}:
            raise ValueError("missing_counted is failed or completed")
        if self.uid_lists not in {"", "refused", "no match"}:
            raise ValueError("uid_lists is refused, no match, or nothing for what they are for")

    def to_json(self) -> str:
        """Write what differs from a well-behaved PACS, for a process of its own."""
        told: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if isinstance(value, frozenset):
                value = sorted(value)
            told[field.name] = value.value if isinstance(value, Fault) else value
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Read what `to_json` wrote; an unknown habit is an error."""
        told = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(told) - known:
            raise ValueError(f"no such habit: {', '.join(sorted(unknown))}")
        for name, value in told.items():
            if isinstance(value, list):
                told[name] = frozenset(value)
        if "fault" in told:
            told["fault"] = Fault(told["fault"])
        return cls(**told)
