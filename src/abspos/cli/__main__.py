"""The command as a module: ``python -m abspos.cli``."""

import sys

from abspos.cli import main

sys.exit(main())
