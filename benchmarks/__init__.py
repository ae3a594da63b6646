"""What lamp is measured by: one file a row, all under the protocol of `benchmarks.harness`.

    python -m benchmarks                      the rows there are
    python -m benchmarks row10                measure a row and print its table
    python -m benchmarks row10 --write-docs   and put the table into docs/benchmarks.md

A new row is one file here, named row<number>_<what>.py, with a `ROW` in it; nothing has to be registered.
"""
