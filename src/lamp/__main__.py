"""`python -m lamp` is the program `lamp`."""

from lamp.cli import main

main(prog_name="lamp")
