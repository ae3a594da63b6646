"""lamp's benchmarks: one file per row of the table, all measured by the protocol of `benchmarks.harness`.

    python -m benchmarks                      list the rows
    python -m benchmarks row10                measure a row and print its table
    python -m benchmarks row10 --write-docs   and write the table into docs/benchmarks.md

To add a row, write a file row<number>_<what>.py here that defines `ROW`. It is found by its name.
"""
