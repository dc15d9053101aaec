"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Input from outside (config, data, weights, command line) that cannot be used.

    The message names the file, the key or the value and the remedy. Tools print it and exit with code 2.
    """
