"""Saved files: written completely or not at all, checked by digests when they are read, and never executed."""

from lamp.saving.disk import sweep, sync_folder, whole_folder, write_file
from lamp.saving.documents import load_json, save_json
from lamp.saving.folders import SealedFolder, check_folder, read_folder, sealed_folder
from lamp.saving.lock import Lock
from lamp.saving.paths import reading, saving
from lamp.saving.tensors import load_tensors, save_tensors
from lamp.saving.weights import load, save

__all__ = [
    "Lock",
    "SealedFolder",
    "check_folder",
    "load",
    "load_json",
    "load_tensors",
    "read_folder",
    "reading",
    "save",
    "save_json",
    "save_tensors",
    "saving",
    "sealed_folder",
    "sweep",
    "sync_folder",
    "whole_folder",
    "write_file",
]
