scontrol -o show job 35
