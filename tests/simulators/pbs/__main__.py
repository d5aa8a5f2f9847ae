"""One command of this PBS."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # it is run as a folder, from anywhere

from tests.simulators.pbs.commands import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
