"""A site in one file: the targets and profiles that an administrator owns and users share."""
