"""The package's name for pip, its version, and the packages that its optional parts need.

The package is imported as `lamp`, but its distribution is called lamp-dl, because `lamp` on PyPI is another package. So
that nobody installs that one, errors name the missing packages themselves, not an extra of lamp.
"""

NAME = "lamp-dl"
VERSION = "0.1.0"

# The optional dependencies of pyproject.toml; a test compares the two.
EXTRAS = {
    "data": ("scikit-learn>=1.4",),
    "sklearn": ("scikit-learn>=1.6",),
    "tables": ("polars>=1.20", "scikit-learn>=1.6"),
    "onnx": ("onnx>=1.16", "onnxruntime>=1.18"),
    "tensorboard": ("tensorboard>=2.16",),
}


def install(extra: str, *, upgrade: bool = False) -> str:
    """The command that installs the packages of an extra, or also upgrades them."""
    packages = " ".join(f'"{requirement}"' for requirement in EXTRAS[extra])
    return f"pip install {'--upgrade ' if upgrade else ''}{packages}"
