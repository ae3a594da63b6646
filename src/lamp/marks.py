"""What a tensor is marked with: it is the same in a copy of the tensor, and a saved tensor has none."""

from __future__ import annotations

from typing import Any, Self


class Mark:
    """The base of passes and of other marks. A mark is the tensor's attribute `backward`."""

    __slots__ = ()

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return set, ()
