"""Miyabi (JCAHPC): PBS Professional behind commands of the site's own."""
