"""The association profile that lets dcmqrscp take and send compressed files.

Incoming: every storage SOP class of the corpus with every transfer syntax that DCMTK 3.6.7 knows.
Outgoing: one presentation context per SOP class and transfer syntax, since dcmqrscp sends on the
first accepted context of a SOP class and cannot convert; at most 128 of them (PS3.8 9.3.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ARCHIVE_PAIRS", "association_profile"]

_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"

#: What DCMTK 3.6.7 can name in a profile; order of preference as acceptor.
_KNOWN = (
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101", "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.104", "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.106", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.1.99", _EXPLICIT, "1.2.840.10008.1.2.2", _IMPLICIT,
)  # fmt: skip

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: What make_archive.py writes: (SOP class, transfer syntax).
ARCHIVE_PAIRS = tuple(
    (_STORAGE + sop_class, transfer_syntax)
    for sop_class, transfer_syntaxes in {
        "1": (_IMPLICIT, _EXPLICIT),
        "1.1": (_IMPLICIT, _EXPLICIT),
        "1.2": (_EXPLICIT,),
        "2": (_IMPLICIT, _EXPLICIT, "1.2.840.10008.1.2.4.70"),
        "4": (_IMPLICIT, _EXPLICIT),
        "6.1": (_EXPLICIT,),
        "3.1": ("1.2.840.10008.1.2.4.50",),
        "12.1": ("1.2.840.10008.1.2.4.50",),
        "128": (_EXPLICIT,),
        "88.11": (_EXPLICIT,),
    }.items()
    for transfer_syntax in transfer_syntaxes
)

_QUERY = (
    "1.2.840.10008.1.1",
    "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3",
    "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3",
)  # fmt: skip


def association_profile(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the text of a DCMTK association configuration with the profiles IN and OUT."""
    wanted = sorted({pair for pair in (*ARCHIVE_PAIRS, *pairs) if pair[1] in _KNOWN})
    assert len(wanted) <= 128, "an association has room for 128 presentation contexts"
    classes = sorted({sop_class for sop_class, _ in wanted})
    assert len(classes) + len(_QUERY) <= 128
    lines = ["[[TransferSyntaxes]]", "[Any]"]
    lines += [f"TransferSyntax{n} = {syntax}" for n, syntax in enumerate(_KNOWN, 1)]
    lines += ["[Query]", f"TransferSyntax1 = {_EXPLICIT}", f"TransferSyntax2 = {_IMPLICIT}"]
    for syntax in sorted({syntax for _, syntax in wanted}):
        lines += [f"[{_label(syntax)}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[In]"]
    incoming = [f"{uid}\\Query" for uid in _QUERY] + [f"{uid}\\Any" for uid in classes]
    lines += [f"PresentationContext{n} = {text}" for n, text in enumerate(incoming, 1)]
    lines += ["[Out]"]
    outgoing = [f"{sop_class}\\{_label(syntax)}" for sop_class, syntax in wanted]
    lines += [f"PresentationContext{n} = {text}" for n, text in enumerate(outgoing, 1)]
    lines += ["[[SCPSCURoleSelection]]", "[Roles]"]
    lines += [f"Role{n} = {uid}\\BOTH" for n, uid in enumerate(classes, 1)]
    lines += ["[[Profiles]]", "[IN]", "PresentationContexts = In", "SCPSCURoleSelection = Roles"]
    lines += ["[OUT]", "PresentationContexts = Out"]
    return "\n".join(lines) + "\n"


def _label(transfer_syntax_uid: str) -> str:
    return "T" + transfer_syntax_uid.replace(".", "_")
