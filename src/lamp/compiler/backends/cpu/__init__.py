"""The CPU's backend: vectors of its registers, through LLVM."""
