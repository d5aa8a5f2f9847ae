"""PBS's commands over the embedded batch system: they answer like the transcripts of an OpenPBS, and jobs really run.

    python tests/simulators/pbs install FOLDER        puts qsub, qstat, qdel, qselect, qhold and qrls into FOLDER/bin
    python tests/simulators/pbs switch FOLDER history=off server=down …

The switches are in `server.SWITCHES`. Three sites: a stock OpenPBS, recorded from a real one; Miyabi and Gadi, as their
users report them, verified by nobody of us.
"""

from tests.simulators.pbs.commands import install, switch
from tests.simulators.pbs.printing import as_text

__all__ = ["as_text", "install", "switch"]
