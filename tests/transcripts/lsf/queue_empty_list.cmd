bjobs -a -o 'jobid jobindex stat exit_code run_time cpu_used max_mem exec_host nexec_host submit_time start_time finish_time exit_reason pend_reason kill_reason suspend_reason job_name' -json 123
