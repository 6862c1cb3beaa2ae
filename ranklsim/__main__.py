"""``python -m ranklsim`` is the command ``ranklsim``."""

import sys

from ranklsim.reports.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
