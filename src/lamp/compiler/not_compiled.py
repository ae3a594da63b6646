"""`NotCompiled`, the exception for whatever the compiled engine cannot train."""


class NotCompiled(Exception):
    """Raised for a network, a loss, an optimizer or data that cannot be compiled; its text says why, in one line.

    row  the first sample that cannot be compiled, if samples are the reason
    """

    def __init__(self, why: str, row: int = 0) -> None:
        super().__init__(why)
        self.row = row
