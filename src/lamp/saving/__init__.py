"""What is kept on disk: written as a whole or not at all, checked byte by byte when read, and never run."""

from lamp.saving.disk import sweep, sync_folder, whole_folder, write_file
from lamp.saving.documents import check_folder, load_json, read_folder, save_json, sealed_folder
from lamp.saving.tensors import load_tensors, save_tensors
from lamp.saving.weights import load, save

__all__ = [
    "check_folder",
    "load",
    "load_json",
    "load_tensors",
    "read_folder",
    "save",
    "save_json",
    "save_tensors",
    "sealed_folder",
    "sweep",
    "sync_folder",
    "whole_folder",
    "write_file",
]
