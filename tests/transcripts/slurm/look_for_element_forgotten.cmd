scontrol -o show job 51_100
