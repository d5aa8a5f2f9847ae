bjobs -a -noheader -o 'jobid jobindex stat exit_code run_time cpu_used max_mem exec_host nexec_host submit_time start_time finish_time exit_reason pend_reason job_name delimiter='"'"'|'"'"'' 123
