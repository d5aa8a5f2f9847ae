bjobs -a -noheader -o 'jobid job_name delimiter='"'"'|'"'"'' -J x_abcd2345
