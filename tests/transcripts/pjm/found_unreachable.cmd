pjstat -E --data --choose=jid,jnam,st,ec,pc,sn,ermsg --filter jnam=x_abcd2345
