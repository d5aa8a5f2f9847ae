"""Results of programs that nobody changes: what they print and write becomes metadata, checks and a value."""

from dagster_hpc.collectors.csv_file import from_csv
from dagster_hpc.collectors.expect import Expect
from dagster_hpc.collectors.found import Collector
from dagster_hpc.collectors.json_file import from_json
from dagster_hpc.collectors.several import from_all
from dagster_hpc.collectors.text import from_stdout, from_text

__all__ = ["Collector", "Expect", "from_all", "from_csv", "from_json", "from_stdout", "from_text"]
