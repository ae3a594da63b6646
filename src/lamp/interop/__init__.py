"""lamp among other packages: networks in their forms, and its estimators; optional packages are imported here alone."""
