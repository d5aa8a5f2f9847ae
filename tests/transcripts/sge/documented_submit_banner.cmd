qsub -terse job.sge
