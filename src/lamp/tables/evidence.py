"""How a column is known to be written: by its own values, by the other columns of its file, or by what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

ALL = ""  # stands for all columns
OF_A_FILE = (".", ",", "dmy", "mdy")  # what one column proves for others


@dataclass(frozen=True)
class Found:
    """How a column writes something, and how that is known.

    value    such as "," for the decimal mark
    known    "asked": by the user; "proven": by its own values; "likely": by what stands beside them; "file": as other
             columns prove it; "against": likewise, though its own values make the other likely; "assumed": it may be
             otherwise; "": nothing depends on it
    example  a value that shows it, or of which it decides what it means
    by       the column that proves it for the file
    other    what it may be instead, where that is not plain
    """

    value: str
    known: str = ""
    example: str = ""
    by: str = ""
    other: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether its values alone may mean something else."""
        return self.known in ("likely", "against", "assumed")


def settled(found: Mapping[str, Found]) -> dict[str, Found]:
    """What columns prove, where all that prove something agree, holds for those that leave it open."""
    proofs = {name: each for name, each in found.items() if each.known == "proven" and each.value in OF_A_FILE}
    if len({each.value for each in proofs.values()}) != 1:
        return dict(found)
    by, proof = next(iter(proofs.items()))
    told = {ALL: Found(proof.value)}
    for name, each in found.items():
        if each.known in ("likely", "assumed"):
            known = "against" if each.known == "likely" and each.value != proof.value else "file"
            told[name] = replace(each, value=proof.value, known=known, by=by)
        else:
            told[name] = each if each.known else Found(proof.value)
    return told
