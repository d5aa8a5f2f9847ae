pjdel 101
