pjstat -s -E r1
