"""python -m stdvid_cli: the command, where the script is not on the path."""

import sys

from .app import command

if __name__ == "__main__":
    sys.exit(command())
