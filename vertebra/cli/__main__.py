"""``python -m vertebra.cli``: the command where its script is not on the path."""

import sys

from vertebra.cli.main import main

sys.exit(main())
