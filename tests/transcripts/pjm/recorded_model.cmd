pjstat -E --data --choose=jid,jmdl 34703955
