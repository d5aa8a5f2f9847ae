qsub -z job.pbs
