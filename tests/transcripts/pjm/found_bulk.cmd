pjstat -H -v -E --choose jid,jnam,st,ec,pc,sn,ermsg --data --delimiter '|' --filter jnam=x_abcd2345
