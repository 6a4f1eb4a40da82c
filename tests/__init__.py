"""The test suite. Fixtures are in conftest.py, random problems and their truth in problems.py."""
