sacct -n -P -X -S now-7days --name=nothing_zzzz9999 --format=JobID,JobName
