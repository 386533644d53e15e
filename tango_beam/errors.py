"""What the entry points turn into a message and an exit code."""


class RefusedError(ValueError):
    """Refused before any work: says what was expected, what was found, and where."""


class JobError(RuntimeError):
    """The job ran and failed; nothing in the output may be taken as complete."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived.

    Attributes:
      signum: which.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
