"""The error a user can mend."""


class UserError(ValueError):
    """Something outside the program is wrong: a file, a flag, a record.

    Its message is one line that names the file, the video where there is one, and the mend.
    Commands print it without a traceback and exit with code 1.
    """
