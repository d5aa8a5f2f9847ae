"""The embedded solver in its parts: what it is asked, what it solves, what it leaves behind."""
