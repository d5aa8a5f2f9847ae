sacct -n -P -X -S now-7days --name=ok_abcd2345 --format=JobID,JobName
