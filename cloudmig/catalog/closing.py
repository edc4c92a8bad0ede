"""Closing calls: the equation, what keeps it from holding, and the end of a wave."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import UnexplainedStudy
from cloudmig.catalog.rows import of_study
from cloudmig.catalog.statement import Equation, Statement, StudyCounts
from cloudmig.errors import CatalogError
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState, advance

__all__ = ["ClosingCalls"]

# One row per study: what is listed, what its weakest copy holds, and how far its copies are.
# A study without a usable UID has no transfer: it waits for a person, or is excluded.
# A claim of 0 is no number: some sources make it of every study.
_PER_STUDY = """
SELECT s.source, s.study_instance_uid, s.study_id,
       coalesce(t.state, 'undecided') AS state,
       coalesce(t.rule, '') AS rule,
       coalesce(t.reason, '') AS reason,
       coalesce(t.instances_inventory, nullif(s.instances_claimed, 0), c.most) AS listed,
       c.least AS held,
       CASE WHEN c.copies IS NULL THEN 'none'
            WHEN c.verified = c.copies THEN 'verified'
            WHEN c.verified + c.stored = c.copies THEN 'stored'
            ELSE 'partly' END AS reached
  FROM study s
  LEFT JOIN transfer t
    ON t.source = s.source AND t.study_instance_uid = s.study_instance_uid
  LEFT JOIN (SELECT transfer_id, count(*) AS copies,
                    sum(CASE WHEN state = 'verified' THEN 1 ELSE 0 END) AS verified,
                    sum(CASE WHEN state = 'stored' THEN 1 ELSE 0 END) AS stored,
                    min(coalesce(instances, 0)) AS least, max(instances) AS most
               FROM copy GROUP BY transfer_id) c
    ON c.transfer_id = t.transfer_id
 WHERE CAST(:source AS VARCHAR) IS NULL OR s.source = :source
 UNION ALL
SELECT u.source, u.answer_sha256, 0,
       CASE WHEN u.released_at IS NULL THEN 'quarantined' ELSE 'excluded' END,
       u.rule, 'unusable_uid', nullif(u.instances_claimed, 0), NULL, 'none'
  FROM unnamed_study u
 WHERE CAST(:source AS VARCHAR) IS NULL OR u.source = :source
"""

_COUNTS = sa.text(f"""
WITH one AS ({_PER_STUDY}),
     two AS (SELECT state, rule, reason, reached, listed, held,
                    CASE WHEN held < listed THEN held ELSE listed END AS kept FROM one)
SELECT state, rule, reason, count(*) AS studies,
       sum(CASE WHEN listed IS NULL THEN 1 ELSE 0 END) AS uncounted,
       coalesce(sum(listed), 0) AS listed,
       coalesce(sum(CASE WHEN reached = 'verified' THEN kept END), 0) AS verified,
       coalesce(sum(CASE WHEN reached = 'stored' THEN kept END), 0) AS unverified,
       coalesce(sum(CASE WHEN reached = 'verified' THEN held - kept END), 0) AS beyond,
       sum(CASE WHEN reached <> 'verified' THEN 1 ELSE 0 END) AS late
  FROM two GROUP BY state, rule, reason ORDER BY state, rule, reason
""")  # noqa: S608 - both parts are constants of this module

# What is not explained: unfinished studies, stored but unverified instances, and shortfalls.
_UNEXPLAINED = sa.text(f"""
WITH one AS ({_PER_STUDY})
SELECT source, study_instance_uid,
       CASE WHEN state IN ('verified', 'closed') THEN 'short'
            WHEN state = 'quarantined' THEN 'stored' ELSE state END AS why
  FROM one
 WHERE state IN ('undecided', 'planned', 'moving', 'stored')
    OR (state = 'quarantined' AND reached = 'stored' AND held > 0)
    OR (state IN ('verified', 'closed') AND (reached <> 'verified' OR held < listed))
 ORDER BY study_id LIMIT :limit
""")  # noqa: S608

_VERDICTS = sa.text("""
SELECT c.verdict_how AS how, c.completeness AS completeness, count(*) AS copies
  FROM copy c JOIN transfer t ON t.transfer_id = c.transfer_id
 WHERE c.state = 'verified' AND (CAST(:source AS VARCHAR) IS NULL OR t.source = :source)
 GROUP BY c.verdict_how, c.completeness
""")

_LISTING_NOTES = sa.text("""
SELECT source, CAST(listing_notes AS VARCHAR) AS notes, count(*) AS studies
  FROM transfer WHERE CAST(listing_notes AS VARCHAR) <> '[]'
 GROUP BY source, CAST(listing_notes AS VARCHAR)
""")
_COUNTED_MORE = sa.text("""
SELECT s.source AS source, count(*) AS studies
  FROM study s
  JOIN transfer t ON t.source = s.source AND t.study_instance_uid = s.study_instance_uid
 WHERE t.state IN ('stored', 'verified', 'closed') AND s.instances_claimed > t.instances_inventory
 GROUP BY s.source
""")
_NUMBER = re.compile(r"\d+")

_CLOSED_EVENTS = sa.text("""
INSERT INTO ledger_event (at, kind, source, study_instance_uid, destination,
                          sop_instance_uid, attempt, detail)
SELECT :at, 'study_closed', source, study_instance_uid, '', '', attempt, '{}'
  FROM transfer
 WHERE state = 'verified' AND (CAST(:source AS VARCHAR) IS NULL OR source = :source)
 ORDER BY transfer_id
""").bindparams(sa.bindparam("at", type_=schema.UtcTime))


class ClosingCalls(Database):
    """Whether everything is explained."""

    def statement(self, source: str | None = None) -> Statement:
        """Count where every study and instance of the inventory went."""
        with self._reading() as connection:
            return self._statement(connection, source)

    def unexplained(self, limit: int = 100, source: str | None = None) -> list[UnexplainedStudy]:
        """Name studies that keep a wave from closing."""
        with self._reading() as connection:
            rows = connection.execute(_UNEXPLAINED, {"limit": limit, "source": source}).all()
            owed = self._owed(connection, {row.study_instance_uid for row in rows})
            return [
                UnexplainedStudy(
                    row.source,
                    StudyRef(row.study_instance_uid),
                    row.why,
                    tuple(owed[row.source, row.study_instance_uid]),
                )
                for row in rows
            ]

    def listing_notes(self) -> dict[str, Counter[str]]:
        """Count by source in how many studies' lists of instances something was odd, and what."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        with self._reading() as connection:
            for row in connection.execute(_LISTING_NOTES):
                for note in {_NUMBER.sub("N", note) for note in json.loads(row.notes)}:
                    found[row.source][note] += row.studies
        return dict(found)

    def counted_more(self) -> dict[str, int]:
        """Count by source the studies that are done and of which it counts more instances now."""
        with self._reading() as connection:
            return {row.source: row.studies for row in connection.execute(_COUNTED_MORE)}

    @staticmethod
    def _owed(connection: sa.Connection, uids: set[str]) -> dict[tuple[str, str], list[str]]:
        """Return by source and study the destinations that are owed a copy."""
        transfer, copy = schema.transfer.c, schema.copy.c
        owed = defaultdict(list)
        for row in connection.execute(
            sa.select(transfer.source, transfer.study_instance_uid, copy.destination)
            .join_from(schema.transfer, schema.copy, transfer.transfer_id == copy.transfer_id)
            .where(transfer.study_instance_uid.in_(uids), copy.state == CopyState.OWED.value)
            .order_by(copy.copy_id)
        ):
            owed[row.source, row.study_instance_uid].append(row.destination)
        return owed

    def set_instances_counted(self, source: str, study: StudyRef, n: int) -> None:
        """Note how many instances a study has that stays where it is."""
        table = schema.transfer.c
        with self._writing() as connection:
            touched = connection.execute(
                sa.update(schema.transfer)
                .where(
                    *of_study(schema.transfer, source, study),
                    table.state == TransferState.EXCLUDED.value,
                )
                .values(instances_inventory=n)
            )
            if touched.rowcount != 1:
                raise CatalogError("this study is not excluded", hint="run `cloudmig plan` again")
            self._append(
                connection, "study_counted", source=source,
                study_instance_uid=study.study_instance_uid, detail={"instances_inventory": n},
            )  # fmt: skip

    def close_wave(self, at: dt.datetime, statement: Statement) -> int:
        """Close every verified study of the statement's scope. Return how many there were.

        Refuses when the statement leaves anything unexplained, or is no longer true.
        """
        hint = "`cloudmig status` and `cloudmig quarantine list` say what is left to do"
        if not statement.holds:
            raise CatalogError("the closing equation does not hold", hint=hint)
        advance(TransferState.VERIFIED, TransferState.CLOSED)
        table, scope = schema.transfer.c, {"source": statement.source}
        with self._writing() as connection:
            if self._statement(connection, statement.source) != statement:
                raise CatalogError(
                    "the catalog has changed since the statement was made",
                    hint="look at the new statement, then close again",
                )
            connection.execute(_CLOSED_EVENTS, {"at": at, **scope})
            closing = sa.update(schema.transfer).where(table.state == TransferState.VERIFIED.value)
            if statement.source is not None:
                closing = closing.where(table.source == statement.source)
            closed = connection.execute(closing.values(state=TransferState.CLOSED.value)).rowcount
            self._append(
                connection, "wave_closed", at=at, source=statement.source or "",
                detail={"closed": closed} | _summed(statement),
            )  # fmt: skip
            return closed

    def _statement(self, connection: sa.Connection, source: str | None) -> Statement:
        scope = {"source": source}
        groups = [StudyCounts(**row._mapping) for row in connection.execute(_COUNTS, scope)]
        verdicts: Counter[str] = Counter()
        weak = 0
        for row in connection.execute(_VERDICTS, scope):
            verdicts[row.how] += row.copies
            weak += row.copies if row.completeness == "WEAK" else 0
        return _settle(source, groups, dict(verdicts), weak)


def _settle(
    source: str | None, groups: Sequence[StudyCounts], verdicts: dict[str, int], weak: int
) -> Statement:
    """Sort every group of studies, and their instances, into one term of the equation each."""
    studies, instances, quarantine = _Terms(), _Terms(), Counter[str]()
    excluded_uncounted = quarantined_uncounted = beyond = late = 0
    for group in groups:
        studies.inventory += group.studies
        instances.inventory += group.listed
        beyond += group.beyond
        match group.state:
            case "verified" | "closed":
                studies.verified += group.studies
                instances.verified += group.verified
                instances.unexplained["short"] += group.listed - group.verified
                late += group.late
            case "quarantined":
                studies.quarantined += group.studies
                quarantine[group.reason] += group.studies
                quarantined_uncounted += group.uncounted
                instances.verified += group.verified
                instances.unexplained["unverified"] += group.unverified
                instances.quarantined += group.listed - group.verified - group.unverified
            case "excluded":
                studies.excluded[group.rule] += group.studies
                instances.excluded[group.rule] += group.listed
                excluded_uncounted += group.uncounted
            case unfinished:
                studies.unexplained[unfinished] += group.studies
                why = "unverified" if unfinished == "stored" else unfinished
                instances.unexplained[why] += group.listed
    return Statement(
        source=source,
        studies=studies.equation(),
        instances=instances.equation(),
        verdicts=verdicts,
        weak_copies=weak,
        quarantine=dict(quarantine),
        excluded_uncounted=excluded_uncounted,
        quarantined_uncounted=quarantined_uncounted,
        beyond_inventory=beyond,
        late_copies=late,
    )


class _Terms:
    """The terms of one equation while they are being added up."""

    def __init__(self) -> None:
        self.inventory = self.verified = self.quarantined = 0
        self.excluded: Counter[str] = Counter()
        self.unexplained: Counter[str] = Counter()

    def equation(self) -> Equation:
        return Equation(
            self.inventory,
            self.verified,
            self.quarantined,
            dict(self.excluded),
            {why: count for why, count in self.unexplained.items() if count},
        )


def _summed(statement: Statement) -> dict[str, object]:
    return {
        name: {
            "inventory": equation.inventory,
            "verified": equation.verified,
            "quarantined": equation.quarantined,
            "excluded": sum(equation.excluded.values()),
        }
        for name, equation in (
            ("studies", statement.studies),
            ("instances", statement.instances),
        )
    }
