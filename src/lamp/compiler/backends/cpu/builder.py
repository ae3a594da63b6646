"""Builder: writes a function in LLVM's intermediate representation (IR), as text with one instruction per line.

llvmlite has a builder too. It makes several objects for each instruction, which refer to each other in circles, and
checks what LLVM checks again when it parses the text. So it takes several times as long, and leaves the objects to
Python's garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache

I1, I8, I32, I64, FLOAT, DOUBLE, POINTER, VOID = "i1", "i8", "i32", "i64", "float", "double", "ptr", "void"
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
RARELY = ", !prof !0"  # said of a jump whose condition seldom holds
WEIGHTS = '!0 = !{!"branch_weights", i32 1, i32 99}'


class Value:
    """A value of the program: a constant, an argument, or the result of an instruction.

    type  its type in LLVM's notation, such as "i64", "ptr" or "<8 x float>"
    text  its name; of a constant, its digits
    """

    __slots__ = "text", "type"

    def __init__(self, type: str, text: str) -> None:
        self.type, self.text = type, text

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


class Phi(Value):
    """A value that depends on which block ran before this one."""

    __slots__ = "_incoming", "_line", "_lines"

    def __init__(self, type: str, text: str, lines: list[str]) -> None:
        super().__init__(type, text)
        self._lines, self._line, self._incoming = lines, len(lines), ""
        lines.append("")

    def add_incoming(self, value: Value, block: Block) -> None:
        """Let it be this value if that block ran before."""
        self._incoming += f"{', ' if self._incoming else ''}[{value.text}, %{block.label}]"
        self._lines[self._line] = f"{self.text} = phi {self.type} {self._incoming}"


class Block:
    """A basic block: instructions that run one after another, and the jump at their end.

    known  values that it has computed, under any keys, for those who would write the same instructions again
    """

    def __init__(self, label: str) -> None:
        self.label, self.jump = label, ""
        self.lines: list[str] = []
        self.known: dict[object, Value] = {}


def vector(type: str, count: int) -> str:
    """The type of a vector."""
    return f"<{count} x {type}>"


def element_type(type: str) -> str:
    """The type of the elements of vectors of this type."""
    return type[type.index("x") + 2 : -1]


def whole(type: str, number: int) -> Value:
    """An integer constant; in every element if the type is one of vectors."""
    if type[0] != "<":
        return Value(type, str(number))
    return Value(type, f"splat ({element_type(type)} {number})" if number else "zeroinitializer")


@cache
def wholes(type: str, *numbers: int) -> Value:
    """A constant vector of integers, the same object each time."""
    listed = ", ".join(f"{type} {number}" for number in numbers)
    return Value(vector(type, len(numbers)), f"<{listed}>")


class Builder:
    """A function under construction. Instructions are written at the end of `block`."""

    def __init__(self, name: str, arguments: Mapping[str, str], triple: str) -> None:
        """Begin a function that returns nothing. arguments: the type and the attributes of each, by name."""
        listed = ", ".join(f"{type} %{argument}" for argument, type in arguments.items())
        self._head = f'target triple = "{triple}"', f"define void @{name}({listed}) {{"
        self._declared: dict[str, str] = {}  # the declarations of the functions that it calls, by name
        self._results = 0
        self._blocks: list[Block] = []
        self.block = self._entry = self.new_block("entry")

    @property
    def size(self) -> int:
        """The number of instructions written so far."""
        return sum(len(block.lines) + bool(block.jump) for block in self._blocks)

    @property
    def text(self) -> str:
        """The function, with declarations of those that it calls."""
        blocks = (line for block in self._blocks for line in (f"{block.label}:", *block.lines, block.jump))
        return "\n".join([*self._head, *blocks, "}", *self._declared.values(), WEIGHTS, ""])

    def do(self, instruction: str) -> None:
        """Write an instruction without a result."""
        self.block.lines.append(instruction)

    def result(self, type: str, instruction: str) -> Value:
        """Write an instruction whose result is of this type."""
        self._results += 1
        value = Value(type, f"%.{self._results}")
        self.block.lines.append(f"{value.text} = {instruction}")
        return value

    # ---- arithmetic --------------------------------------------------------------------------------------------
    def unary(self, operation: str, x: Value) -> Value:
        return self.result(x.type, f"{operation} {x.type} {x.text}")

    def binary(self, operation: str, x: Value, y: Value) -> Value:
        return self.result(x.type, f"{operation} {x.type} {x.text}, {y.text}")

    def compared(self, sign: str, x: Value, y: Value) -> Value:
        """A comparison of signed integers."""
        signed = "" if sign in ("==", "!=") else "s"
        return self._compared(f"icmp {signed}{COMPARISONS[sign]}", x, y)

    def floats_compared(self, sign: str, x: Value, y: Value) -> Value:
        """A comparison of floats. With NaN only "!=" is true."""
        return self._compared(f"fcmp {'u' if sign == '!=' else 'o'}{COMPARISONS[sign]}", x, y)

    def _compared(self, operation: str, x: Value, y: Value) -> Value:
        type = f"{x.type[: x.type.index('x')]}x {I1}>" if x.type[0] == "<" else I1  # one condition per element
        return self.result(type, f"{operation} {x.type} {x.text}, {y.text}")

    def chosen(self, condition: Value, x: Value, y: Value) -> Value:
        """x where the condition holds, y elsewhere."""
        return self.result(x.type, f"select {condition}, {x}, {y}")

    def converted(self, operation: str, x: Value, type: str) -> Value:
        """x as a value of another type; x itself if it is of that type."""
        return x if x.type == type else self.result(type, f"{operation} {x} to {type}")

    # ---- elements of vectors -----------------------------------------------------------------------------------
    def element(self, x: Value, place: int, type: str) -> Value:
        """An element of a vector."""
        return self.result(type, f"extractelement {x}, i32 {place}")

    def with_element(self, x: Value, element: Value, place: int) -> Value:
        """A vector with an element replaced."""
        return self.result(x.type, f"insertelement {x}, {element}, i32 {place}")

    def shuffled(self, x: Value, y: Value, places: Sequence[int]) -> Value:
        """The vector of the elements at these places of x and y, counted through both."""
        mask = wholes(I32, *places)
        type = vector(element_type(x.type), len(places))
        return self.result(type, f"shufflevector {x.type} {x.text}, {y.type} {y.text}, {mask.type} {mask.text}")

    # ---- memory ------------------------------------------------------------------------------------------------
    def place(self, type: str, pointer: Value, at: Value) -> Value:
        """The address of value `at` in an array of values of this type."""
        return self.result(POINTER, f"getelementptr {type}, ptr {pointer.text}, i64 {at.text}")

    def load(self, type: str, pointer: Value, align: int = 0) -> Value:
        """The value at an address. align: what divides the address, if not what is usual for the type."""
        return self.result(type, f"load {type}, ptr {pointer.text}{f', align {align}' if align else ''}")

    def store(self, value: Value, pointer: Value, align: int = 0) -> None:
        """Store a value at an address."""
        self.do(f"store {value.type} {value.text}, ptr {pointer.text}{f', align {align}' if align else ''}")

    def load_atomic(self, pointer: Value) -> Value:
        """The int64 at an address, which other threads write; what they wrote before it is seen too."""
        return self.result(I64, f"load atomic i64, ptr {pointer.text} acquire, align 8")

    def add_atomic(self, pointer: Value, number: int) -> Value:
        """Add a number to the int64 at an address that other threads add to; the result is what it was before."""
        return self.result(I64, f"atomicrmw add ptr {pointer.text}, i64 {number} acq_rel")

    def on_stack(self, value: Value) -> Value:
        """The address of a value on the stack, in a place of its own."""
        with self.at_entry():
            place = self.result(POINTER, f"alloca {value.type}")
        self.store(value, place)
        return place

    # ---- control -----------------------------------------------------------------------------------------------
    def call(self, type: str, name: str, operands: Sequence[Value]) -> Value:
        """Call another function, by its name; a result of type VOID means nothing."""
        types = ", ".join(operand.type for operand in operands)
        self._declared.setdefault(name, f"declare {type} @{name}({types})")
        given = ", ".join(map(str, operands))
        if type == VOID:
            self.do(f"call void @{name}({given})")
            return Value(VOID, "")
        return self.result(type, f"call {type} @{name}({given})")

    def call_address(self, function: Value, operands: Sequence[Value]) -> None:
        """Call the function at an address, which returns nothing."""
        self.do(f"call void {function.text}({', '.join(map(str, operands))})")

    def new_block(self, label: str) -> Block:
        """A block at the end of the function, still empty."""
        block = Block(f"{label}.{len(self._blocks)}")
        self._blocks.append(block)
        return block

    def phi(self, type: str) -> Phi:
        """A value that depends on which block ran before this one. Only at the beginning of a block."""
        self._results += 1
        return Phi(type, f"%.{self._results}", self.block.lines)

    def jump(self, block: Block) -> None:
        """End the block: another one follows."""
        self.block.jump = f"br label %{block.label}"

    def jump_if(self, condition: Value, then: Block, otherwise: Block, likelihood: str = "") -> None:
        """End the block: one of two follows."""
        self.block.jump = f"br i1 {condition.text}, label %{then.label}, label %{otherwise.label}{likelihood}"

    def finish(self) -> None:
        """End the block, and with it the function."""
        self.block.jump = "ret void"

    @contextmanager
    def at_entry(self) -> Iterator[None]:
        """Write at the end of the function's first block."""
        before, self.block = self.block, self._entry
        yield
        self.block = before

    @contextmanager
    def if_rare(self, condition: Value) -> Iterator[None]:
        """What is written now runs only if the condition holds, which it seldom does."""
        rare, after = self.new_block("rare"), self.new_block("after")
        self.jump_if(condition, rare, after, RARELY)
        with self._before(after, rare):
            yield
        self.block = after

    @contextmanager
    def either(self, condition: Value) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two contexts: what is written in the first runs if the condition holds, what is in the second if not."""
        then, otherwise, after = (self.new_block(label) for label in ("then", "otherwise", "after"))
        self.jump_if(condition, then, otherwise)
        yield self._before(after, then), self._before(after, otherwise)
        self.block = after

    @contextmanager
    def _before(self, after: Block, block: Block) -> Iterator[None]:
        """Write in `block`, which is followed by `after`."""
        self.block = block
        yield
        self.jump(after)
