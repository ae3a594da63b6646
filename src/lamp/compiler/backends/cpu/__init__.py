"""The backend for CPUs: writes LLVM IR whose vectors are vector registers, and compiles it with llvmlite."""
