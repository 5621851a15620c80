"""python -m stdvid_cli: the command, where the script is not on the path."""

import sys

from .app import main

if __name__ == "__main__":
    sys.exit(main())
