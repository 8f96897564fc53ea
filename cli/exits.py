"""What `sentinel` exits with, so that scripts can tell what happened without reading text.

A program that ended by itself hands its own code through, one that a signal ended gives 128 + its number. Every
other end has a code of its own, near to what other Unix tools use; `--json` says without doubt.
"""

from sentinel.v1 import submission_pb2

USAGE = 2
"""The command line makes no sense."""
REFUSED = 64
"""The service refused what was asked: a field out of range, an unknown language or job."""
NO_INPUT = 66
"""A file named on the command line cannot be read or sent."""
UNAVAILABLE = 69
"""Nothing listens, the line broke for good, or the service is degraded."""
INTERNAL_ERROR = 70
"""The service failed, not the program."""
TRY_LATER = 75
"""Rate limited, or too much is queued: asking again later helps."""
COMPILATION_ERROR = 120
OUTPUT_LIMIT_EXCEEDED = 121
MEMORY_LIMIT_EXCEEDED = 122
SECURITY_VIOLATION = 123
TIMEOUT = 124
"""As timeout(1) does."""
CANCELLED = 130
"""As after Ctrl-C in a shell; also where somebody else cancelled it."""
BROKEN_PIPE = 141
"""Whoever read our output has gone, as a shell reports SIGPIPE."""

_BY_STATUS = {
    submission_pb2.SUCCESS: 0,
    submission_pb2.COMPILATION_ERROR: COMPILATION_ERROR,
    submission_pb2.TIMEOUT: TIMEOUT,
    submission_pb2.MEMORY_LIMIT_EXCEEDED: MEMORY_LIMIT_EXCEEDED,
    submission_pb2.OUTPUT_LIMIT_EXCEEDED: OUTPUT_LIMIT_EXCEEDED,
    submission_pb2.SECURITY_VIOLATION: SECURITY_VIOLATION,
    submission_pb2.CANCELLED: CANCELLED,
    submission_pb2.INTERNAL_ERROR: INTERNAL_ERROR,
}


def exit_code(submission: submission_pb2.Submission) -> int:
    """The code for a terminal submission."""
    if submission.status == submission_pb2.RUNTIME_ERROR:
        if submission.HasField("signal"):
            return 128 + submission.signal
        return submission.exit_code
    # A status newer than this client is nothing we can vouch for.
    return _BY_STATUS.get(submission.status, INTERNAL_ERROR)
