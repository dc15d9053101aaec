"""The exception for errors that the user can correct."""


class InputError(ValueError):
    """The config, the data, the weights or the command line cannot be used.

    The message names the file, the key or the value, and says what to do. The tools print the message and exit with
    code 2.
    """
