scontrol -o show job 999999_3
