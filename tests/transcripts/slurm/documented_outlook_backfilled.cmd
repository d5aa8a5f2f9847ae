scontrol -o show job 71
