pjstat -s -E 101
