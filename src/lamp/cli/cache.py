"""`lamp cache`: show or clear the compiled kernels on disk."""

from __future__ import annotations

import os

import click

from lamp.cli import terminal
from lamp.errors import ArgumentError


@click.command(epilog="Examples:\n\n  lamp cache\n\n  lamp cache --clear")
@click.option("--clear", is_flag=True, help="Remove all kernels.")
def cache(clear: bool) -> None:
    """Show where compiled kernels are kept and how much space they take; LAMP_CACHE_DIR chooses the folder."""
    from lamp.compiler import disk_cache

    if not os.environ.get(disk_cache.BYTES, "0").isdecimal():
        raise ArgumentError(
            f"{disk_cache.BYTES} is not a number of bytes; the limit of {disk_cache.MOST_BYTES} bytes applies",
            expected="an integer, such as 1000000000",
            got=repr(os.environ[disk_cache.BYTES]),
            fix=f"export {disk_cache.BYTES}=1000000000",
        )
    place = disk_cache.folder()
    if (wrong := disk_cache.unusable()) is not None:
        raise ArgumentError(
            f"no kernels are kept in {place}",
            expected="a folder that you own and nobody else may write to; it is created if needed",
            got=wrong,
            fix=f"export {disk_cache.FOLDER}=FOLDER, or {disk_cache.FOLDER}=off for no cache",
        )
    if place is None:
        terminal.tell(f"no kernels are kept: {disk_cache.FOLDER} is off")
        return
    if clear:
        terminal.tell(f"{disk_cache.clear()} kernels removed from {place}")
        return
    found = disk_cache.entries()
    size, most = sum(entry.size for entry in found) / 2**20, disk_cache.most_bytes() / 2**20
    terminal.tell(f"{place}: {len(found)} kernels, {size:.1f} of at most {most:.0f} MiB")
