"""PJM, the job operation software of Fujitsu's Technical Computing Suite."""
