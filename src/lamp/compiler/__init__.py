"""The compiler: turns a network, its gradient, its loss and its optimizer into machine code that trains.

The passes run in this order. Each takes a form that can be printed and returns the next one.

    trace     module -> Graph                lamp.tracing     what the network computes, as a list of operations
    fuse      Graph -> Plan of stages        fusion           elementwise operations join the operation before them
    allocate  Plan -> Plan with offsets      storage          where each value and gradient is kept in scratch memory
    tile      KernelSpec -> Tiling           tiling           lanes, columns, parts for threads
    lower     KernelSpec -> code             kernel_builder   the training loop, written through a backend's `Code`
    compile   code -> machine code           backends/        LLVM; kernels are cached in memory and on disk

Nothing here is imported before it is needed.
"""
