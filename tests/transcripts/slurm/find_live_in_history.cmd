sacct -n -P -X -S now-7days --name=fills_abcd2345 --format=JobID,JobName
