"""How the engine leaves: exit codes of its own, beside those of `pipeline/errors.py`.

With an exit code of an ArchiveError, the line on its standard output is the error's message.
"""

LEFT_WELL = 0
LEFT_BUG = 1  # also what faulthandler exits with, where a decoder hangs and holds Python's lock
LEFT_HUNG = 20  # a page ran past its deadline
LEFT_ORPHANED = 21  # the command that started it is gone
