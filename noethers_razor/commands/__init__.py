"""The commands of the program; heavy imports happen inside them."""
