pjstat --limit --group ra010014
