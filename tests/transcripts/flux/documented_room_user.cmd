flux account view-user carol
