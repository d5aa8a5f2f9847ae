bkill 123
