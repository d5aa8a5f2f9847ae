sacct -n -P -X -S now-7days --name=ok --format=JobID,JobName
