"""`reverie view`: runs in a browser. Needs the extra `view`."""
