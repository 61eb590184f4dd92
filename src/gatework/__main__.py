"""`python -m gatework`: the command line."""

import sys

from gatework.cli import main

sys.exit(main())
