pjstat -H -v -E
