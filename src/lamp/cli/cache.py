"""`lamp cache`: the compiled kernels that are kept on disk."""

from __future__ import annotations

import click

from lamp.cli import terminal


@click.command(epilog="Examples:\n\n  lamp cache\n\n  lamp cache --clear")
@click.option("--clear", is_flag=True, help="Remove all kernels.")
def cache(clear: bool) -> None:
    """Say where compiled kernels are kept and how much room they take; LAMP_CACHE_DIR chooses the folder."""
    from lamp.compiler import disk_cache

    place = disk_cache.folder()
    if place is None:
        terminal.tell(f"no kernels are kept: {disk_cache.FOLDER} is off")
        return
    if clear:
        terminal.tell(f"{disk_cache.clear()} kernels removed from {place}")
        return
    found = disk_cache.entries()
    size, most = sum(entry.size for entry in found) / 2**20, disk_cache.most_bytes() / 2**20
    terminal.tell(f"{place}: {len(found)} kernels, {size:.1f} of at most {most:.0f} MiB")
