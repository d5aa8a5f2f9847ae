qsub job.torque
