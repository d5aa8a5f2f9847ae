pjstat -v -E --choose jid,jnam,st,ec,pc,sn,ermsg --data --delimiter '|' --filter jid=101+102
