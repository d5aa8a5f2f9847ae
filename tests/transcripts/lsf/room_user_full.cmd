busers -w carol
