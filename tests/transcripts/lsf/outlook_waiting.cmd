bjobs -l 123
