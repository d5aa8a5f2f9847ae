pjstat -s -E 101[3]
