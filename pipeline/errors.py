"""The errors a user can meet, each with its exit code and whether a retry can help.

ArchiveError                    what all of ours derive from
├── UsageError            2     the command line asks for something that can't be
├── MissingError          3     a service, weights or a device is missing
│   ├── BusyError         3     another process is at work on the same database
│   └── DeviceError       3     a device failed in the middle of work: another process may have better luck
├── PagesFailedError      4     some pages or documents could not be read
├── SourceError           5     an input can't be read: the reason goes on its page or document
│   ├── NotAScanError     5     the file is no scan: it is skipped, not failed
│   ├── DocumentError     5     no page can be had of the file (pipeline/sources.py)
│   └── SourceGoneError   5     the file can't be reached now: a retry can help
├── OutputError           5     an output can't be written
├── StorageError          5     the database or the files can't be reached: a retry can help
│   └── BrokerError       3     the broker can't be reached: a retry can help
├── QualityError          7     a quality bar was not met
└── SettingsError         9     a setting is wrong or unknown

Exit codes beside these: 0 done (nothing new included), 1 a bug, 130 and 143 stopped by a signal.
A message says what happened, to which file, and what to do next, in one line.
"""

import re


class ArchiveError(Exception):
    """What all errors for users derive from."""

    exit_code = 1
    retryable = False


class UsageError(ArchiveError):
    """The command line asks for something that can't be."""

    exit_code = 2


class MissingError(ArchiveError):
    """A service, weights or a device is missing."""

    exit_code = 3


class BusyError(MissingError):
    """Another process is at work on the same database."""

    retryable = True


class DeviceError(MissingError):
    """A device failed in the middle of its work; the pages on it are tried again, each alone."""

    retryable = True


class PagesFailedError(ArchiveError):
    """Some pages or documents could not be read; their reasons are in the ledger."""

    exit_code = 4


class SourceError(ArchiveError):
    """An input can't be read; the message is the reason that its page or document gets."""

    exit_code = 5


class NotAScanError(SourceError):
    """The file is no scan; it is skipped and counted with the reason."""


class SourceGoneError(SourceError):
    """The file can't be reached now (moved, no permission, a share that is away)."""

    retryable = True


class OutputError(ArchiveError):
    """An output can't be written."""

    exit_code = 5


class StorageError(ArchiveError):
    """The database or the files can't be reached or are full; costs no page an attempt."""

    exit_code = 5
    retryable = True


class BrokerError(StorageError):
    """The broker can't be reached; costs no page an attempt."""

    exit_code = 3


class QualityError(ArchiveError):
    """A quality bar was not met."""

    exit_code = 7


class SettingsError(ArchiveError):
    """A setting is wrong or unknown."""

    exit_code = 9


def is_out_of_memory(error: Exception) -> bool:
    """Tell lack of memory in whatever way NumPy, torch and OpenCV put it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def without_password(url: str) -> str:
    """Return a URL for people: what stands between its user and the last @ is left out."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", url)
