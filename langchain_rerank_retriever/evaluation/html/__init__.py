"""One HTML file that holds all there is to say of an evaluation, with its pictures."""
