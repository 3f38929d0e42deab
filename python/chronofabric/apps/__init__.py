"""Programs built on the fabric: the command line, its screen and the demonstration. Nothing below imports them."""
