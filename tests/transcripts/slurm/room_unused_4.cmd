sacctmgr -n -P show qos format=Name,GrpSubmitJobs,MaxSubmitJobsPU,MaxSubmitJobsPA
