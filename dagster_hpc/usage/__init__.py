"""What jobs have used of what they were given: from rows of the ledger to figures, tables and a page. Pure, no Dagster."""
