"""A file or folder per suite, with `make(name, **options) -> gymnasium.Env` and `tasks()`.

What several suites share lies in `_common`.

Nothing is imported here: a suite's package is loaded when one of its tasks is built.
"""
