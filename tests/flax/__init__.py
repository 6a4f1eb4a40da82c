"""What needs flax, which the project does not install: not collected where it is missing."""
