"""What to run, how, and where: the records that a user writes and the launchpad shows."""
