"""What needs Arrow, which the project does not install: not collected where it is missing."""
