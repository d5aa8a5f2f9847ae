pjstat -v -E
