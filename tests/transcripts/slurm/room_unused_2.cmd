scontrol -o show assoc_mgr flags=assoc,qos users=root accounts=proj1
