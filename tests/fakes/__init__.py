"""Stand-ins at the network edge: real sockets, real keys, and every way in which a neighbour can misbehave."""
