pjstat
