"""Evidence for how a column is written: its own values, the other columns of its file, or a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

ALL = ""  # stands for all columns
OF_A_FILE = (".", ",", "dmy", "mdy")  # findings that one column proves for the whole file


@dataclass(frozen=True)
class Found:
    """How a column writes one thing, and the evidence for it.

    value    the finding, such as "," for the decimal mark
    known    "asked": the user said so; "proven": the column's values allow nothing else; "likely": its other values
             suggest it; "file": other columns prove it; "against": they prove it, although the column's own values
             suggest otherwise; "assumed": a default, and it may be otherwise; "": the column does not depend on it
    example  a value that proves the finding, or whose meaning depends on it
    by       the name of the column that proves it for the file
    other    the alternative, where that is not obvious
    """

    value: str
    known: str = ""
    example: str = ""
    by: str = ""
    other: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether the column's own values could mean something else."""
        return self.known in ("likely", "against", "assumed")


def settled(found: Mapping[str, Found]) -> dict[str, Found]:
    """The findings, with ambiguous columns following those that prove something, provided these all agree."""
    proofs = {name: each for name, each in found.items() if each.known == "proven" and each.value in OF_A_FILE}
    if len({each.value for each in proofs.values()}) != 1:
        return dict(found)
    by, proof = next(iter(proofs.items()))
    result = {ALL: Found(proof.value)}
    for name, each in found.items():
        if each.known in ("likely", "assumed"):
            known = "against" if each.known == "likely" and each.value != proof.value else "file"
            result[name] = replace(each, value=proof.value, known=known, by=by)
        else:
            result[name] = each if each.known else Found(proof.value)
    return result
