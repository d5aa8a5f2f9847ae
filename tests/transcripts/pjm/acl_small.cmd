pjacl --rg small
