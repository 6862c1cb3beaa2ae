"""``python -m ranklsim`` is the command ``ranklsim``."""

import sys

from ranklsim.reports.cli import main

if __name__ == "__main__":
    sys.exit(main())
