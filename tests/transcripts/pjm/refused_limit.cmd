pjsub job.pjm
