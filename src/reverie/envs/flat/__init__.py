"""One environment as flat, checked arrays: its spaces, and the conversions to and from them."""
