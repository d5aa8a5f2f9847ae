qsub job.pbs
