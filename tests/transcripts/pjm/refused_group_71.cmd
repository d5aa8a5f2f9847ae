pjsub /jobs/x.pjm
