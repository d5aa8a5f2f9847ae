pjstat -H -E --data --choose=jid,jnam,st,ec,pc,sn,ermsg 101 102
